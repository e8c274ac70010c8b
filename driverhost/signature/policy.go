package signature

// Policy: which roots are trusted, and the verdict on an image.

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/drvhost/drvhost/pe"
)

// maxRootsFile bounds a file of roots, in bytes.
const maxRootsFile = 16 << 20

// Policy demands a signature whose chain ends at one of its roots.
type Policy struct {
	roots *x509.CertPool
}

// NewPolicy makes a policy of roots. A root may be any certificate, a signer's own among them; its
// own signature is not checked, its validity is.
func NewPolicy(roots ...*x509.Certificate) *Policy {
	p := &Policy{x509.NewCertPool()}
	for _, c := range roots {
		p.roots.AddCert(c)
	}
	return p
}

// LoadRoots reads the roots of a policy from PEM files, each of which must have at least one
// certificate. Blocks of other types are passed over.
func LoadRoots(pemFiles ...string) (*Policy, error) {
	var roots []*x509.Certificate
	for _, file := range pemFiles {
		data, err := readRegular(file, maxRootsFile)
		if err != nil {
			return nil, err
		}
		before := len(roots)
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				continue
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%s: certificate %d: %w", file, len(roots)-before+1, err)
			}
			roots = append(roots, c)
		}
		if len(roots) == before {
			return nil, fmt.Errorf("%s: no certificates (-----BEGIN CERTIFICATE-----) in it", file)
		}
	}
	if len(roots) == 0 {
		return nil, errors.New("no file of root certificates")
	}
	return NewPolicy(roots...), nil
}

// Check reads a file and decides whether it may be loaded now. Errors are *RefusedError and those
// of reading the file.
func (p *Policy) Check(path string) error {
	data, err := readRegular(path, pe.MaxFileSize)
	if err != nil {
		return err
	}
	return p.CheckImage(filepath.Base(path), data, time.Now())
}

// CheckImage decides whether an image may be loaded at a time. name is for the error, which is a
// *RefusedError.
func (p *Policy) CheckImage(name string, image []byte, when time.Time) error {
	found, err := read(image)
	if err != nil {
		return &RefusedError{File: name, Facts: []error{err}}
	}
	refused := &RefusedError{File: name}
	for i := range found {
		err := found[i].err
		if err == nil {
			err = p.judge(&found[i], when)
		}
		if err == nil {
			return nil
		}
		refused.Facts = append(refused.Facts, err)
	}
	return refused
}

// ErrNotSigned says that an image has no signature in it. A catalog may have one.
var ErrNotSigned = errors.New("not signed")

// ErrChanged says that an image is not the one that was signed.
var ErrChanged = errors.New("the image was changed after it was signed")

// RefusedError says why an image is refused.
type RefusedError struct {
	File string
	// Facts has what is wrong with each signature, or the one thing that is wrong with the file.
	Facts []error
}

// Error names the file and what is wrong with it.
func (e *RefusedError) Error() string {
	if len(e.Facts) == 1 {
		return e.File + ": " + e.Facts[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: none of its %d signatures is good", e.File, len(e.Facts))
	for i, f := range e.Facts {
		sep := ": "
		if i > 0 {
			sep = "; "
		}
		b.WriteString(sep + f.Error())
	}
	return b.String()
}

// Unwrap gives what is wrong, for errors.Is.
func (e *RefusedError) Unwrap() []error { return e.Facts }

// readRegular reads a regular file of at most limit bytes.
func readRegular(path string, limit int64) ([]byte, error) {
	// O_NONBLOCK: a FIFO in place of a file must not hang the open.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file (%s)", path, st.Mode().Type())
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return data, nil
}
