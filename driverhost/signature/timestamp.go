package signature

// Counter-signatures: RFC 3161 tokens, which say when a signature was there.

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// oidTSTInfo is the content type of a token (RFC 3161, section 2.4.2).
var oidTSTInfo = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}

// tstInfo is the content of a token. What follows GenTime is not looked at.
type tstInfo struct {
	Version int
	Policy  asn1.ObjectIdentifier
	Imprint struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	Serial  *big.Int
	GenTime time.Time `asn1:"generalized"`
}

// readTimestamp reads a token for the signature of m. Its signer may be anybody.
func readTimestamp(token []byte, m *message) (*message, time.Time, error) {
	t, err := readMessage(token, oidTSTInfo)
	if err != nil {
		return nil, time.Time{}, err
	}
	var info tstInfo
	if _, err := asn1.Unmarshal(t.Content, &info); err != nil || info.Version != 1 {
		return nil, time.Time{}, errors.New("its time cannot be read")
	}
	h, err := hashOf(info.Imprint.Algorithm.Algorithm)
	if err != nil {
		return nil, time.Time{}, err
	}
	w := h.New()
	_, _ = w.Write(m.Signers[0].EncryptedDigest) // a hash takes everything
	if !bytes.Equal(w.Sum(nil), info.Imprint.Digest) {
		return nil, time.Time{}, errors.New("it is of another signature")
	}
	return t, info.GenTime, nil
}

// timestamp gives the time of a token whose signer is trusted.
func (p *Policy) timestamp(token []byte, m *message, now time.Time) (time.Time, error) {
	t, at, err := readTimestamp(token, m)
	switch {
	case err != nil:
		return time.Time{}, err
	case at.After(now):
		return time.Time{}, fmt.Errorf("its time is to come (%s)", at.UTC().Format(time.RFC3339))
	}
	if err := p.chain(t, at, x509.ExtKeyUsageTimeStamping); err != nil {
		return time.Time{}, fmt.Errorf("signed by %s, %w", name(t.signer), err)
	}
	return at, nil
}
