package signature

// PKCS#7 messages: what the guard lets through to the library, and what is asked of every one.

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha256" // accepted digests
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/ayoubfaouzi/pkcs7"
)

// guard gives the one DER element that data begins with, after it has looked at its form: definite
// lengths, no more nesting and no more elements than a signature has.
func guard(data []byte) ([]byte, error) {
	left := maxElements
	var walk func(data []byte, depth int, one bool) ([]byte, error)
	walk = func(data []byte, depth int, one bool) ([]byte, error) {
		for rest := data; len(rest) > 0; {
			var v asn1.RawValue
			after, err := asn1.Unmarshal(rest, &v)
			if left--; err != nil || left < 0 || depth == maxDepth {
				return nil, errors.New("its PKCS#7 message is garbage")
			}
			if v.IsCompound {
				if _, err := walk(v.Bytes, depth+1, false); err != nil {
					return nil, err
				}
			}
			if one {
				return v.FullBytes, nil
			}
			rest = after
		}
		return nil, nil
	}
	return walk(data, 0, true)
}

// message is a PKCS#7 message with one signer, whose signature is right.
type message struct {
	*pkcs7.PKCS7
	signer *x509.Certificate
	digest crypto.Hash // of the content and of the signed attributes
}

// readMessage reads a message that passed the guard, of a content type, and checks that the signer
// signed the content. The signer may be anybody.
func readMessage(der []byte, content asn1.ObjectIdentifier) (m *message, err error) {
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("its PKCS#7 message is garbage: %v", p)
		}
	}()
	p, err := pkcs7.Parse(readable(der))
	if err != nil {
		return nil, fmt.Errorf("its PKCS#7 message cannot be read: %w", err)
	}
	if len(p.Signers) != 1 {
		return nil, fmt.Errorf("its PKCS#7 message has %d signers instead of one", len(p.Signers))
	}
	if len(p.Certificates) > maxCerts {
		return nil, fmt.Errorf("%d certificates, more than are read (%d)", len(p.Certificates),
			maxCerts)
	}
	for _, c := range p.Certificates {
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSAKeyBits {
			return nil, fmt.Errorf("the key of %s has %d bits", name(c), k.N.BitLen())
		}
	}
	m = &message{PKCS7: p, signer: p.GetOnlySigner()}
	if m.signer == nil {
		return nil, errors.New("the signer's certificate is not there")
	}
	var signed asn1.ObjectIdentifier
	err = p.UnmarshalSignedAttribute(pkcs7.OIDAttributeContentType, &signed)
	if err != nil || !signed.Equal(content) {
		return nil, errors.New("what it signs is of another kind")
	}
	if m.digest, err = hashOf(p.Signers[0].DigestAlgorithm.Algorithm); err != nil {
		return nil, err
	}
	if err := p.Verify(); err != nil {
		return nil, fmt.Errorf("the signature of %s is wrong: %w", name(m.signer), err)
	}
	return m, nil
}

// readable gives a message without what is no X.509 certificate among its certificates, over which
// the library gives up: Microsoft's time stamps had an attribute certificate there until 2021.
func readable(der []byte) []byte {
	const certificates = 0 // the tag ("RFC 5652", section 5.1)
	// The way in: ContentInfo, its [0], SignedData, and the certificates among its elements.
	return only(der, func(i int, v asn1.RawValue) []byte {
		if i != 1 || v.Class != asn1.ClassContextSpecific {
			return v.FullBytes
		}
		return only(v.FullBytes, func(_ int, signed asn1.RawValue) []byte {
			return only(signed.FullBytes, func(_ int, v asn1.RawValue) []byte {
				if v.Class != asn1.ClassContextSpecific || v.Tag != certificates {
					return v.FullBytes
				}
				return only(v.FullBytes, func(_ int, v asn1.RawValue) []byte {
					if _, err := x509.ParseCertificate(v.FullBytes); err != nil {
						return nil
					}
					return v.FullBytes
				})
			})
		})
	})
}

// only rebuilds a DER element of what keep gives for each of its elements. What it cannot read
// stays as it is.
func only(der []byte, keep func(i int, v asn1.RawValue) []byte) []byte {
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 || !outer.IsCompound {
		return der
	}
	var kept []byte
	for i, rest := 0, outer.Bytes; len(rest) > 0; i++ {
		var v asn1.RawValue
		after, err := asn1.Unmarshal(rest, &v)
		if err != nil {
			return der
		}
		kept = append(kept, keep(i, v)...)
		rest = after
	}
	out, err := asn1.Marshal(asn1.RawValue{Class: outer.Class, Tag: outer.Tag, IsCompound: true,
		Bytes: kept})
	if err != nil {
		return der
	}
	return out
}

// attributes gives the values of an unsigned attribute: DER elements.
func (m *message) attributes(id asn1.ObjectIdentifier) [][]byte {
	var list [][]byte
	for _, a := range m.Signers[0].UnauthenticatedAttributes {
		for rest := a.Value.Bytes; a.Type.Equal(id) && len(rest) > 0 && len(list) < maxEntries; {
			var v asn1.RawValue
			after, err := asn1.Unmarshal(rest, &v)
			if err != nil {
				break
			}
			list = append(list, bytes.Clone(v.FullBytes))
			rest = after
		}
	}
	return list
}

// hashOf gives the hash function of a digest algorithm, if it is one that is accepted.
func hashOf(id asn1.ObjectIdentifier) (crypto.Hash, error) {
	switch {
	case id.Equal(pkcs7.OIDDigestAlgorithmSHA256):
		return crypto.SHA256, nil
	case id.Equal(pkcs7.OIDDigestAlgorithmSHA384):
		return crypto.SHA384, nil
	case id.Equal(pkcs7.OIDDigestAlgorithmSHA512):
		return crypto.SHA512, nil
	}
	what := id.String()
	switch {
	case id.Equal(pkcs7.OIDDigestAlgorithmSHA1):
		what = "SHA-1"
	case id.Equal(pkcs7.OIDDigestAlgorithmMD5):
		what = "MD5"
	}
	return 0, fmt.Errorf("its digest is %s, which is not accepted (SHA-256, SHA-384 and SHA-512 are)",
		what)
}
