package signature

// The signatures of an image: each is read, and held against the image and against a policy.

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Object identifiers of "Windows Authenticode Portable Executable Signature Format" and kin.
var (
	oidIndirectData    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidPEImageData     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
	oidNestedSignature = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 4, 1}
	oidTimestampToken  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 3, 3, 1}
	oidLifetimeSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 10, 3, 13}
)

// found is a signature of an image.
type found struct {
	*message
	stamps [][]byte // RFC 3161 tokens
	err    error    // what is wrong with it, whoever is trusted
}

// read gives an image's signatures. The error is about the file.
func read(image []byte) ([]found, error) {
	l, err := readLayout(image)
	if err != nil {
		return nil, err
	}
	todo, err := l.entries()
	if err != nil {
		return nil, err
	}
	if len(todo) == 0 {
		return nil, ErrNotSigned
	}
	var list []found
	for len(todo) > 0 && len(list) < maxEntries {
		f := readSignature(l, todo[0])
		todo = todo[1:]
		if f.message != nil {
			todo = append(todo, f.attributes(oidNestedSignature)...)
			f.stamps = f.attributes(oidTimestampToken)
		}
		list = append(list, f)
	}
	return list, nil
}

// readSignature reads one signature and holds it against the image.
func readSignature(l *layout, der []byte) found {
	m, err := readMessage(der, oidIndirectData)
	if err != nil {
		return found{err: err}
	}
	f := found{message: m}
	var data struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue `asn1:"optional"`
	}
	var digest struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	rest, err := asn1.Unmarshal(m.Content, &data)
	if err == nil {
		rest, err = asn1.Unmarshal(rest, &digest)
	}
	if err != nil || len(rest) > 0 || !data.Type.Equal(oidPEImageData) {
		f.err = errors.New("what it signs is no PE image")
		return f
	}
	h, err := hashOf(digest.Algorithm.Algorithm)
	switch {
	case err != nil:
		f.err = err
	case bytes.Equal(l.digest(h), digest.Digest):
	case l.gap != nil:
		f.err = fmt.Errorf("%w, or does not cover all of it: %w", ErrChanged, l.gap)
	default:
		f.err = ErrChanged
	}
	return f
}

// judge decides whether a signature's signer is trusted.
func (p *Policy) judge(f *found, when time.Time) error {
	at, stamped, stampErr := when, false, error(nil)
	for _, token := range f.stamps {
		t, err := p.timestamp(token, f.message, when)
		if err == nil {
			at, stamped = t, true
			break
		}
		stampErr = err
	}
	if slices.ContainsFunc(f.signer.UnknownExtKeyUsage, oidLifetimeSigning.Equal) {
		at, stamped = when, false // a counter-signature does not prolong this certificate's life
	}
	err := p.chain(f.message, at, x509.ExtKeyUsageCodeSigning)
	if err == nil {
		return nil
	}
	var expired *expiredError
	if errors.As(err, &expired) && !stamped && stampErr != nil {
		return fmt.Errorf("signed by %s, %w; its counter-signature does not count: %w",
			name(f.signer), err, stampErr)
	}
	return fmt.Errorf("signed by %s, %w", name(f.signer), err)
}

// usageNames are for errors.
var usageNames = map[x509.ExtKeyUsage]string{
	x509.ExtKeyUsageCodeSigning:  "code signing",
	x509.ExtKeyUsageTimeStamping: "time stamping",
}

// expiredError says that a certificate is not valid at a time.
type expiredError struct {
	cert   *x509.Certificate
	at     time.Time
	signer bool
}

func (e *expiredError) Error() string {
	whose := "whose certificate"
	if !e.signer {
		whose = "where the certificate of " + name(e.cert)
	}
	const day = time.DateOnly
	if e.at.Before(e.cert.NotBefore) {
		return fmt.Sprintf("%s is valid from %s on, and it is %s", whose,
			e.cert.NotBefore.UTC().Format(day), e.at.UTC().Format(day))
	}
	return fmt.Sprintf("%s expired %s, and it is %s", whose, e.cert.NotAfter.UTC().Format(day),
		e.at.UTC().Format(day))
}

// chain looks for a chain from a message's signer to a root. Errors go on from "signed by NAME, ".
func (p *Policy) chain(m *message, at time.Time, usage x509.ExtKeyUsage) error {
	c := m.signer
	if !slices.Contains(c.ExtKeyUsage, usage) ||
		c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return fmt.Errorf("whose certificate is not for %s", usageNames[usage])
	}
	between := x509.NewCertPool()
	for _, c := range m.Certificates {
		between.AddCert(c)
	}
	_, err := c.Verify(x509.VerifyOptions{Roots: p.roots, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{usage}})
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		return &expiredError{invalid.Cert, at, invalid.Cert.Equal(c)}
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return fmt.Errorf("whose issuer may not issue certificates for %s", usageNames[usage])
	case errors.As(err, &unknown):
		return fmt.Errorf("whose issuer %s is no configured root", top(m))
	}
	return fmt.Errorf("whose certificate has no good chain to a configured root: %s",
		printable(err.Error()))
}

// top names the issuer that the certificates in a message lead to.
func top(m *message) string {
	c := m.signer
	for range m.Certificates {
		i := slices.IndexFunc(m.Certificates, func(up *x509.Certificate) bool {
			return up != c && bytes.Equal(up.RawSubject, c.RawIssuer) && !up.Equal(c)
		})
		if i < 0 {
			break
		}
		c = m.Certificates[i]
	}
	return printable(c.Issuer.String())
}

// name gives whom a certificate is of.
func name(c *x509.Certificate) string { return printable(c.Subject.String()) }

// printable makes text of a certificate fit for a terminal.
func printable(s string) string {
	const limit = 256
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
