package trace

// Rules for what differs by nature, and the comparison of results that respects them.

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/drvhost/drvhost/nt"
)

// MaskKind says which part of a result a rule masks.
type MaskKind uint8

// What can be masked. MaskOut leaves the length of the output to be compared, and MaskLength its
// bytes, as far as both have them.
const (
	MaskOut MaskKind = iota
	MaskLength
	MaskInformation
	MaskStatus
	MaskIOStatus
	maskKinds
)

var maskNames = [maskKinds]string{"out", "length", "information", "status", "io_status"}

// String gives the name that a trace has for it.
func (k MaskKind) String() string { return maskNames[k] }

func maskOf(name string) (MaskKind, bool) {
	for k, n := range maskNames {
		if n == name {
			return MaskKind(k), true
		}
	}
	return 0, false
}

// Range is a range of bytes of an output.
type Range struct {
	Start, Len uint64 // Len is math.MaxUint64 for all that follows
}

// end gives where it ends in an output of n bytes.
func (r Range) end(n uint64) uint64 {
	if r.Len > n || r.Start > n-r.Len {
		return n
	}
	return r.Start + r.Len
}

// String gives "0x48+16".
func (r Range) String() string {
	n := "*"
	if r.Len != math.MaxUint64 {
		n = strconv.FormatUint(r.Len, 10)
	}
	return "0x" + strconv.FormatUint(r.Start, 16) + "+" + n
}

// MarshalText gives String.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText gives.
func (r *Range) UnmarshalText(text []byte) (err error) {
	*r, err = parseRange(string(text))
	return err
}

func parseRange(text string) (Range, error) {
	start, n, ok := strings.Cut(text, "+")
	first, hexadecimal := parseHex([]byte(start))
	if !hexadecimal {
		var err error
		if first, err = strconv.ParseUint(start, 10, 64); err != nil {
			return Range{}, errRange
		}
	}
	if n == "*" {
		return Range{first, math.MaxUint64}, nil
	}
	many, err := strconv.ParseUint(n, 10, 63)
	if !ok || err != nil || many == 0 {
		return Range{}, errRange
	}
	return Range{first, many}, nil
}

// Mask is a rule: in the results of the requests that it is for, a part is not compared.
type Mask struct {
	What  MaskKind
	HasOp bool // only for this operation
	Op    nt.MajorFunction
	// HasCode restricts it to a control code, an information class or the like.
	HasCode bool
	Code    uint32
	HasID   bool // only for this request
	ID      uint64
	Name    string  // only for files that were opened by this name; "" is any
	Bytes   []Range // of the output; none is all of it
	Why     string
}

// matches reports whether the rule is for a request on a file of that name.
func (m *Mask) matches(r *Request, name string) bool {
	return (!m.HasOp || m.Op == r.Major) && (!m.HasCode || m.Code == r.Code) &&
		(!m.HasID || m.ID == r.ID) && (m.Name == "" || strings.EqualFold(trimName(m.Name), name))
}

// trimName takes \\.\ off a name.
func trimName(name string) string { return strings.TrimPrefix(name, `\\.\`) }

// Field is what a result may differ in.
type Field string

// The fields of a result.
const (
	FieldStatus      Field = "status"
	FieldIOStatus    Field = "io_status"
	FieldInformation Field = "information"
	FieldOutput      Field = "output"
)

// Differences are the fields in which two results differ.
type Differences struct {
	Fields []Field
	// Masked are the ranges of output that were not compared.
	Masked []Range
}

// Same reports whether two results are the same to the byte, so that no rule needs to be looked at.
func (r *Result) Same(other *Result) bool {
	return r.Status == other.Status && r.Information == other.Information &&
		r.IOStatus == other.IOStatus && bytes.Equal(r.Out, other.Out)
}

// Compare says in what the result of a request, on a file that was opened by that name, differs from
// the recorded one, after the trace's rules.
func (t *Trace) Compare(r *Request, name string, want, have *Result) (d Differences) {
	if want.Same(have) {
		return d
	}
	var masked [maskKinds]bool
	for i := range t.Masks {
		switch m := &t.Masks[i]; {
		case !m.matches(r, trimName(name)):
		case m.What == MaskOut && len(m.Bytes) > 0:
			d.Masked = append(d.Masked, m.Bytes...)
		default:
			masked[m.What] = true
		}
	}
	if masked[MaskOut] {
		d.Masked = []Range{{0, math.MaxUint64}}
	}
	if want.Status != have.Status && !masked[MaskStatus] {
		d.Fields = append(d.Fields, FieldStatus)
	}
	// A status that differs is told once.
	together := want.Status == want.IOStatus && have.Status == have.IOStatus
	if want.IOStatus != have.IOStatus && !masked[MaskIOStatus] && !together {
		d.Fields = append(d.Fields, FieldIOStatus)
	}
	if want.Information != have.Information && !masked[MaskInformation] {
		d.Fields = append(d.Fields, FieldInformation)
	}
	if !equalOutside(want.Out, have.Out, d.Masked, masked[MaskLength]) {
		d.Fields = append(d.Fields, FieldOutput)
	}
	return d
}

// equalOutside compares two outputs but for the masked ranges. With anyLength, only what both have
// counts.
func equalOutside(a, b []byte, masked []Range, anyLength bool) bool {
	if len(a) != len(b) && !anyLength {
		return false
	}
	n := min(len(a), len(b))
	a, b = a[:n], b[:n]
	if bytes.Equal(a, b) {
		return true
	}
	a, b = bytes.Clone(a), bytes.Clone(b)
	for _, r := range masked {
		if r.Start < uint64(n) {
			end := r.end(uint64(n))
			clear(a[r.Start:end])
			clear(b[r.Start:end])
		}
	}
	return bytes.Equal(a, b)
}

// CompareOpen is Compare for the result of an open: rules for all operations count, and those without
// an id or a code.
func (t *Trace) CompareOpen(name string, want, have *Result) (d Differences) {
	var masked [maskKinds]bool
	for i := range t.Masks {
		m := &t.Masks[i]
		if m.HasOp || m.HasCode || m.HasID {
			continue
		}
		if m.Name == "" || strings.EqualFold(trimName(m.Name), name) {
			masked[m.What] = true
		}
	}
	if want.Status != have.Status && !masked[MaskStatus] {
		d.Fields = append(d.Fields, FieldStatus)
	}
	if want.Information != have.Information && !masked[MaskInformation] {
		d.Fields = append(d.Fields, FieldInformation)
	}
	return d
}
