package signature

// Images signed by osslsigncode in the test.

import (
	"crypto/x509"
	"encoding/asn1"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnImageThatOsslsigncodeSigned(t *testing.T) {
	osslsigncode(t)
	root := issue(t, nil, "Root", "2120-01-01", authority)
	other := issue(t, nil, "Other Root", "2120-01-01", authority)
	between := issue(t, root, "Between", "2100-01-01", authority)
	good := issue(t, root, "Good", "2100-01-01", coder)
	below := issue(t, between, "Below", "2100-01-01", coder)
	rsa := issueFor(t, rsaKey(t), root, "RSA", "2100-01-01", coder)
	short := issue(t, root, "Short", "2024-06-01", coder)
	alone := issue(t, nil, "Alone", "2100-01-01", coder)
	server := issue(t, root, "Server", "2100-01-01", forUse(x509.ExtKeyUsageServerAuth))
	anything := issue(t, root, "Anything", "2100-01-01", func(*x509.Certificate) {})
	lifetime := issue(t, root, "Lifetime", "2024-06-01", func(c *x509.Certificate) {
		coder(c)
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidLifetimeSigning}
	})
	narrow := issue(t, root, "Narrow", "2100-01-01", func(c *x509.Certificate) {
		authority(c)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	narrowed := issue(t, narrow, "Narrowed", "2100-01-01", coder)
	tsa := issue(t, root, "TSA", "2100-01-01", stamper)
	otherTSA := issue(t, other, "Other TSA", "2100-01-01", stamper)
	image := unsigned(t)
	policy := NewPolicy(root.cert)
	for _, c := range []struct {
		name   string
		policy *Policy
		first  *signing // before s
		s      signing
		when   string
		want   string // "" if it is good
	}{
		{name: "by a certificate of a root is good", s: signing{by: good}},
		{name: "with an RSA key is good", s: signing{by: rsa}},
		{name: "with SHA-384 is good", s: signing{by: good, digest: "sha384"}},
		{name: "with SHA-512 and RSA is good", s: signing{by: rsa, digest: "sha512"}},
		{name: "with page hashes is good", s: signing{by: good, more: []string{"-ph"}}},
		{name: "with a description is good", s: signing{by: good, more: []string{"-n", "a driver"}}},
		{name: "through an intermediate that goes along is good",
			s: signing{by: below, with: []*identity{between}}},
		{name: "by a certificate that is a root itself is good", policy: NewPolicy(alone.cert),
			s: signing{by: alone}},
		{name: "before it expired, counter-signed then, is good",
			s: signing{by: short, stamp: tsa, stamped: "2024-01-02"}},
		{name: "badly and once more, nested, well, is good", first: &signing{by: alone},
			s: signing{by: good, digest: "sha384", nest: true}},
		{name: "well and once more, nested, badly, is good", first: &signing{by: good},
			s: signing{by: alone, nest: true}},

		{name: "with SHA-1 is refused", s: signing{by: rsa, digest: "sha1"},
			want: "its digest is SHA-1, which is not accepted (SHA-256, SHA-384 and SHA-512 are)"},
		{name: "by another root's is refused", policy: NewPolicy(other.cert), s: signing{by: good},
			want: "signed by CN=Good, whose issuer CN=Root is no configured root"},
		{name: "through an intermediate of another root names that root",
			policy: NewPolicy(other.cert), s: signing{by: below, with: []*identity{between}},
			want: "signed by CN=Below, whose issuer CN=Root is no configured root"},
		{name: "through an intermediate that is missing names it", s: signing{by: below},
			want: "signed by CN=Below, whose issuer CN=Between is no configured root"},
		{name: "by oneself is refused", s: signing{by: alone},
			want: "signed by CN=Alone, whose issuer CN=Alone is no configured root"},
		{name: "by one that has expired is refused", s: signing{by: short},
			want: "signed by CN=Short, whose certificate expired 2024-06-01, and it is 2026-01-01"},
		{name: "by one that is not valid yet is refused", s: signing{by: short}, when: "2019-01-01",
			want: "signed by CN=Short, whose certificate is valid from 2020-01-01 on, and it is " +
				"2019-01-01"},
		{name: "counter-signed after it expired is refused",
			s: signing{by: short, stamp: tsa, stamped: "2024-06-02"},
			want: "signed by CN=Short, whose certificate expired 2024-06-01, and it is " +
				"2024-06-02"},
		{name: "counter-signed by another root's is refused",
			s: signing{by: short, stamp: otherTSA, stamped: "2024-01-02"},
			want: "signed by CN=Short, whose certificate expired 2024-06-01, and it is 2026-01-01; " +
				"its counter-signature does not count: signed by CN=Other TSA, whose issuer " +
				"CN=Other Root is no configured root"},
		{name: "counter-signed in the future counts as not counter-signed",
			s:    signing{by: short, stamp: tsa, stamped: "2024-05-01"},
			when: "2019-01-01",
			want: "signed by CN=Short, whose certificate is valid from 2020-01-01 on, and it is " +
				"2019-01-01; its counter-signature does not count: its time is to come " +
				"(2024-05-01T12:00:00Z)"},
		{name: "by a certificate whose life no counter-signature prolongs is refused",
			s: signing{by: lifetime, stamp: tsa, stamped: "2024-01-02"},
			want: "signed by CN=Lifetime, whose certificate expired 2024-06-01, and it is " +
				"2026-01-01"},
		{name: "by a server's certificate is refused", s: signing{by: server},
			want: "signed by CN=Server, whose certificate is not for code signing"},
		{name: "by a certificate that says no purpose is refused", s: signing{by: anything},
			want: "signed by CN=Anything, whose certificate is not for code signing"},
		{name: "below an issuer for servers is refused",
			s:    signing{by: narrowed, with: []*identity{narrow}},
			want: "signed by CN=Narrowed, whose issuer may not issue certificates for code signing"},
		{name: "twice, both badly, says both", first: &signing{by: alone},
			s: signing{by: server, nest: true},
			want: "none of its 2 signatures is good: signed by CN=Alone, whose issuer CN=Alone is " +
				"no configured root; signed by CN=Server, whose certificate is not for code signing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			signed := image
			if c.first != nil {
				signed = sign(t, signed, *c.first)
			}
			signed = sign(t, signed, c.s)
			if c.policy == nil {
				c.policy = policy
			}
			if c.when == "" {
				c.when = "2026-01-01"
			}
			err := c.policy.CheckImage("a.sys", signed, day(t, c.when))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, "a.sys: "+c.want, err.Error())
		})
	}
}

// samples are the images in testdata, which tests without osslsigncode live on. They are made anew,
// with new keys that nobody keeps, by
//
//	DRVHOST_WRITE_SAMPLES=1 go test -run TestSamplesAreMade ./driverhost/signature
const samples = "DRVHOST_WRITE_SAMPLES"

func TestSamplesAreMade(t *testing.T) {
	if os.Getenv(samples) == "" {
		t.Skip("the samples are made on demand, by " + samples + "=1")
	}
	root := issueFor(t, rsaKey(t), nil, "drvhost test root", "2120-01-01", authority)
	between := issue(t, root, "drvhost test intermediate", "2110-01-01", authority)
	signer := issueFor(t, rsaKey(t), between, "drvhost test signer", "2024-06-01", coder)
	second := issue(t, root, "drvhost second signer", "2100-01-01", coder)
	tsa := issueFor(t, rsaKey(t), root, "drvhost test time", "2100-01-01", stamper)
	stranger := issue(t, nil, "drvhost stranger", "2100-01-01", coder)
	stamped := sign(t, unsigned(t), signing{by: signer, with: []*identity{between}, stamp: tsa,
		stamped: "2024-01-02"})
	nested := sign(t, sign(t, unsigned(t), signing{by: stranger}),
		signing{by: second, digest: "sha384", nest: true})
	require.NoError(t, os.WriteFile(filepath.Join("testdata", "stamped.sys"), stamped, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join("testdata", "nested.sys"), nested, 0o644))
	for name, id := range map[string]*identity{"root.pem": root, "stranger.pem": stranger} {
		require.NoError(t, os.WriteFile(filepath.Join("testdata", name), pemOf(id.cert), 0o644))
	}
}
