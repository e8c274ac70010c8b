package signature

// Certificates made by crypto/x509, and images signed with them by osslsigncode.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
)

// day gives the noon of a date.
func day(tb testing.TB, date string) time.Time {
	at, err := time.Parse(time.DateOnly, date)
	require.NoError(tb, err)
	return at.Add(12 * time.Hour)
}

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var serial int64

// issue makes a certificate. from nil makes it its own issuer.
func issue(tb testing.TB, from *identity, subject, until string,
	change func(*x509.Certificate)) *identity {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	return issueFor(tb, key, from, subject, until, change)
}

func issueFor(tb testing.TB, key crypto.Signer, from *identity, subject, until string,
	change func(*x509.Certificate)) *identity {
	serial++
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: subject},
		NotBefore: day(tb, "2020-01-01"), NotAfter: day(tb, until), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature}
	change(c)
	id := &identity{key: key}
	if from == nil {
		from = &identity{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, from.cert, key.Public(), from.key)
	require.NoError(tb, err)
	id.cert, err = x509.ParseCertificate(der)
	require.NoError(tb, err)
	return id
}

// forUse makes a certificate one for a purpose.
func forUse(u x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{u} }
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
}

var coder = forUse(x509.ExtKeyUsageCodeSigning)

// stamper makes a certificate one for time stamping, and says so critically (RFC 3161, section
// 2.3).
func stamper(c *x509.Certificate) {
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		panic(err) // of a constant
	}
	c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true,
		Value: usage}}
}

// rsaKey makes an RSA key.
func rsaKey(tb testing.TB) crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(tb, err)
	return key
}

// signing is what osslsigncode is to do.
type signing struct {
	by      *identity
	with    []*identity // certificates that go along
	digest  string      // "sha256" if ""
	stamp   *identity   // who counter-signs
	stamped string      // when
	nest    bool
	more    []string
}

// osslsigncode finds the tool, or skips the test.
func osslsigncode(tb testing.TB) string {
	path, err := exec.LookPath("osslsigncode")
	if err != nil {
		if os.Getenv("DRVHOST_REQUIRE_OSSLSIGNCODE") != "" {
			tb.Fatalf("osslsigncode is not here: %v", err)
		}
		tb.Skipf("SKIPPED: osslsigncode is not here: %v", err)
	}
	return path
}

// sign signs an image.
func sign(tb testing.TB, image []byte, s signing) []byte {
	tool, dir := osslsigncode(tb), tb.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, kind string, blocks ...[]byte) string {
		var text []byte
		for _, b := range blocks {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})...)
		}
		require.NoError(tb, os.WriteFile(at(name), text, 0o600))
		return at(name)
	}
	key := func(id *identity) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(id.key)
		require.NoError(tb, err)
		return der
	}
	require.NoError(tb, os.WriteFile(at("in.sys"), image, 0o600))
	certs := [][]byte{s.by.cert.Raw}
	for _, c := range s.with {
		certs = append(certs, c.cert.Raw)
	}
	digest := "sha256"
	if s.digest != "" {
		digest = s.digest
	}
	args := []string{"sign", "-certs", write("certs.pem", "CERTIFICATE", certs...),
		"-key", write("key.pem", "PRIVATE KEY", key(s.by)), "-h", digest,
		"-time", strconv.FormatInt(day(tb, "2024-01-01").Unix(), 10)}
	if s.stamp != nil {
		args = append(args, "-TSA-certs", write("tsa.pem", "CERTIFICATE", s.stamp.cert.Raw),
			"-TSA-key", write("tsakey.pem", "PRIVATE KEY", key(s.stamp)), "-TSA-time",
			strconv.FormatInt(day(tb, s.stamped).Unix(), 10))
	}
	if s.nest {
		args = append(args, "-nest")
	}
	args = append(append(args, s.more...), "-in", at("in.sys"), "-out", at("out.sys"))
	out, err := exec.Command(tool, args...).CombinedOutput()
	require.NoError(tb, err, "%s", out)
	data, err := os.ReadFile(at("out.sys"))
	require.NoError(tb, err)
	return data
}

// unsigned is the image that is signed here.
func unsigned(tb testing.TB) []byte {
	data, err := fixtures.Bytes("exportlib.sys")
	require.NoError(tb, err)
	return data
}
