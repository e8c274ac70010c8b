package signature

// Inspect: what signatures an image has, without a policy.

import (
	"errors"
	"time"
)

// Signature is one that an image has.
type Signature struct {
	Signer   string    `json:"signer"` // as the certificate says, which nobody vouches for
	Issuer   string    `json:"issuer"`
	Digest   string    `json:"digest"` // "SHA-256"
	NotAfter time.Time `json:"not_after"`
	// Time is what an RFC 3161 counter-signature says, or zero. Nobody vouches for its signer either.
	Time time.Time `json:"time,omitzero"`
	// Problem is what is wrong with the signature itself, or "" if it is of this image.
	Problem string `json:"problem,omitempty"`
}

// Inspect gives the signatures of an image. There is none, and no error, if it is not signed. An
// error says what is wrong with the file or its certificate table.
func Inspect(image []byte) ([]Signature, error) {
	list, err := read(image)
	if errors.Is(err, ErrNotSigned) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := make([]Signature, len(list))
	for i, f := range list {
		if f.err != nil {
			out[i].Problem = f.err.Error()
		}
		if f.message == nil {
			continue
		}
		out[i].Signer, out[i].Issuer = name(f.signer), printable(f.signer.Issuer.String())
		out[i].Digest, out[i].NotAfter = f.digest.String(), f.signer.NotAfter
		for _, token := range f.stamps {
			if _, at, err := readTimestamp(token, f.message); err == nil {
				out[i].Time = at
				break
			}
		}
	}
	return out, nil
}
