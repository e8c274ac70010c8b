package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/signature"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/pe"
)

// Report is what a driver's file says.
type Report struct {
	File          string         `json:"file"`
	SHA256        string         `json:"sha256"`
	Machine       string         `json:"machine"`
	PreferredBase driverhost.Hex `json:"preferred_base"`
	Size          driverhost.Hex `json:"size"` // bytes, mapped
	Entry         driverhost.Hex `json:"entry"`
	Relocatable   bool           `json:"relocatable"`
	Signed        bool           `json:"signed"` // there is a signature, which may be of anybody
	TimeDateStamp driverhost.Hex `json:"time_date_stamp"`
	LinkerVersion string         `json:"linker_version"`
	OSVersion     string         `json:"os_version"`
	Functions     int            `json:"functions"` // with unwind data
	Sections      []Section      `json:"sections"`
	Imports       []Import       `json:"imports"`
	// Missing are the imports that nothing answers, "module!name".
	Missing []string      `json:"missing"`
	Exports []ImageExport `json:"exports"`
	// Untrapped are the instructions that have another effect in a process than in a kernel, and do
	// not trap there.
	Untrapped []Instruction  `json:"untrapped_instructions"`
	Support   map[string]int `json:"support"` // imports by level of support
	// Signatures are those in the file. Nobody vouches for the names.
	Signatures []signature.Signature `json:"signatures"`
	// SignatureProblem says what is wrong with the table of signatures.
	SignatureProblem string `json:"signature_problem,omitempty"`
}

// Instruction is one that is patched when the driver is loaded, or stays native.
type Instruction struct {
	Name    string         `json:"name"`
	Address driverhost.Hex `json:"address"`          // relative to the base
	Native  string         `json:"native,omitempty"` // why it is not patched
}

// Section is a section of the image.
type Section struct {
	Name       string         `json:"name"`
	Address    driverhost.Hex `json:"address"` // relative to the base
	Size       driverhost.Hex `json:"size"`    // bytes in memory
	FileOffset driverhost.Hex `json:"file_offset"`
	FileSize   driverhost.Hex `json:"file_size"`
	Protection string         `json:"protection"` // "r-x"; "d" after it: discardable
}

// Import is an import, and how much of it the built-in kernel has.
type Import struct {
	Module  string `json:"module"`
	Name    string `json:"name"` // "#12" for one by ordinal
	Support string `json:"support"`
	Note    string `json:"note"`
}

// What Import.Support can be besides an export's full, partial and stub.
const (
	// SupportMissing: nothing answers the import. A call of it is reported.
	SupportMissing = "missing"
	// SupportOther: another driver has to be loaded first that exports it.
	SupportOther = "other"
	// SupportOwn: nothing answers it, and the image has code of its own for that case.
	SupportOwn = "own"
)

// ImageExport is an export of the image.
type ImageExport struct {
	Name      string         `json:"name"`
	Ordinal   uint16         `json:"ordinal"`
	Address   driverhost.Hex `json:"address"` // relative to the base
	Forwarder string         `json:"forwarder,omitempty"`
}

// File inspects a driver's file. Errors are those of [pe.ParseFile].
func File(path string) (*Report, error) {
	img, err := pe.ParseFile(path)
	if err != nil {
		return nil, err
	}
	r := Image(img)
	r.File = path
	return r, nil
}

// Image inspects a parsed image.
func Image(img *pe.Image) *Report {
	sum := sha256.Sum256(img.Bytes())
	r := &Report{File: img.Name, SHA256: hex.EncodeToString(sum[:]), Machine: img.Machine.String(),
		PreferredBase: driverhost.Hex(img.PreferredBase), Size: driverhost.Hex(img.SizeOfImage),
		Entry: driverhost.Hex(img.EntryRVA), Relocatable: img.HasRelocations(),
		Signed: img.Authenticode.Size > 0, TimeDateStamp: driverhost.Hex(img.TimeDateStamp),
		LinkerVersion: img.LinkerVersion.String(), OSVersion: img.OSVersion.String(),
		Functions: len(img.Functions()), Sections: []Section{}, Imports: []Import{},
		Missing: []string{}, Exports: []ImageExport{}, Support: make(map[string]int)}
	for i := range img.Sections {
		s := &img.Sections[i]
		r.Sections = append(r.Sections, Section{s.Name, driverhost.Hex(s.RVA),
			driverhost.Hex(s.VirtualSize), driverhost.Hex(s.RawOffset), driverhost.Hex(s.RawSize),
			s.Flags()})
	}
	for _, m := range img.Imports {
		for _, f := range m.Functions {
			i := judge(m.Name, f)
			r.Imports = append(r.Imports, i)
			r.Support[i.Support]++
			if i.Support == SupportMissing || i.Support == SupportOther {
				r.Missing = append(r.Missing, i.Module+"!"+i.Name)
			}
		}
	}
	for _, e := range img.Exports() {
		r.Exports = append(r.Exports, ImageExport{e.Name, e.Ordinal, driverhost.Hex(e.RVA), e.Forwarder})
	}
	var err error
	if r.Signatures, err = signature.Inspect(img.Bytes()); err != nil {
		r.SignatureProblem = err.Error()
	}
	if r.Signatures == nil {
		r.Signatures = []signature.Signature{}
	}
	r.Untrapped = []Instruction{}
	for _, i := range ntoskrnl.UntrappedInstructions(img) {
		r.Untrapped = append(r.Untrapped, Instruction{i.Name, driverhost.Hex(i.RVA), i.Why})
	}
	return r
}

// judge says what an import will come to.
func judge(module string, f pe.Import) Import {
	i := Import{Module: module, Name: f.String()}
	var e *ntoskrnl.Export
	known := false
	if f.ByOrdinal {
		_, known = find(module, "")
	} else {
		e, known = find(module, f.Name)
	}
	switch {
	case e != nil:
		i.Support, i.Note = e.Support.String(), e.Note
	case f.Fallback != 0:
		i.Support, i.Note = SupportOwn, "the image has code of its own for it"
	case known:
		i.Support = SupportMissing
	default:
		i.Support, i.Note = SupportOther, "load "+module+" first"
	}
	return i
}

// writeSignatures says who signed the file, as it says itself.
func (r *Report) writeSignatures(b *strings.Builder) {
	if r.SignatureProblem != "" {
		fmt.Fprintf(b, "the signature cannot be read: %s\n", r.SignatureProblem)
	}
	for _, s := range r.Signatures {
		if s.Signer == "" {
			fmt.Fprintf(b, "a signature: %s\n", s.Problem)
			continue
		}
		fmt.Fprintf(b, "signed by %s, certified by %s until %s, %s", s.Signer, s.Issuer,
			s.NotAfter.Format(time.DateOnly), s.Digest)
		if !s.Time.IsZero() {
			fmt.Fprintf(b, ", at %s", s.Time.Format(time.RFC3339))
		}
		if s.Problem != "" {
			fmt.Fprintf(b, ": %s", s.Problem)
		}
		b.WriteByte('\n')
	}
}

// WriteTo writes the report for people.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s driver, sha256 %s\n", r.File, r.Machine, r.SHA256)
	relocatable, signed := "can be relocated", "not signed"
	if !r.Relocatable {
		relocatable = "cannot be relocated"
	}
	if r.Signed {
		signed = "signed (whether the chain leads to a root, load --require-signature asks)"
	}
	fmt.Fprintf(&b, "base %v, %d KiB mapped, entry +%v, %s, %s, linker %s, for Windows %s, "+
		"%d functions with unwind data\n", r.PreferredBase, r.Size/1024, r.Entry, relocatable,
		signed, r.LinkerVersion, r.OSVersion, r.Functions)
	r.writeSignatures(&b)
	b.WriteString("\nsections\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range r.Sections {
		fmt.Fprintf(t, "  %s\t+%v\t%v bytes\t%s\tfile %v + %v\n", s.Name, s.Address, uint64(s.Size),
			s.Protection, s.FileOffset, s.FileSize)
	}
	_ = t.Flush() // to a strings.Builder, which takes everything
	fmt.Fprintf(&b, "\nimports: %d", len(r.Imports))
	for _, level := range []string{"full", "partial", "stub", SupportOwn, SupportOther,
		SupportMissing} {
		if n := r.Support[level]; n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, level)
		}
	}
	b.WriteByte('\n')
	for _, i := range r.Imports {
		fmt.Fprintf(t, "  %s!%s\t%s\t%s\n", i.Module, i.Name, i.Support, i.Note)
	}
	_ = t.Flush()
	if len(r.Exports) > 0 {
		fmt.Fprintf(&b, "\nexports: %d\n", len(r.Exports))
		for _, e := range r.Exports {
			where := e.Forwarder
			if where == "" {
				where = "+" + e.Address.String()
			}
			fmt.Fprintf(t, "  %d\t%s\t%s\n", e.Ordinal, e.Name, where)
		}
		_ = t.Flush()
	}
	if len(r.Untrapped) > 0 {
		fmt.Fprintf(&b, "\ninstructions that do not trap in a process: %d\n", len(r.Untrapped))
		for _, i := range r.Untrapped {
			state := "patched"
			if i.Native != "" {
				state = "native: " + i.Native
			}
			fmt.Fprintf(t, "  +%v\t%s\t%s\n", i.Address, i.Name, state)
		}
		_ = t.Flush()
	}
	n, err := io.WriteString(w, driverhost.Printable(b.String()))
	return int64(n), err
}
