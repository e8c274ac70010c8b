package main

// reg add, delete, export and import.

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

const addUsage = `REG ADD KEY [/v NAME | /ve] [/t TYPE] [/s SEPARATOR] [/d DATA] [/f]

  /v NAME  the value to set; /ve, or /t or /d alone, is for the default value
  /t TYPE  REG_SZ (if nothing is said), REG_MULTI_SZ, REG_EXPAND_SZ, REG_DWORD, REG_QWORD,
           REG_DWORD_BIG_ENDIAN, REG_BINARY, REG_NONE, REG_FULL_RESOURCE_DESCRIPTOR
  /s SEP   what stands between the texts of a REG_MULTI_SZ, \0 if nothing is said
  /d DATA  text, a number (decimal, or hexadecimal behind 0x), or bytes in hexadecimal
  /f       ask nothing where there is such a value

The key is made with those above it.
`

const deleteUsage = `REG DELETE KEY [/v NAME | /ve | /va] [/f]

  /v NAME  that value; /ve is the default value, /va all values, and without any of them
           the key goes with everything below it
  /f       ask nothing
`

const exportUsage = `REG EXPORT KEY FILE [/y] [/utf8 | /regedit4]

  /y         ask nothing where there is such a file
  /utf8      write UTF-8 instead of UTF-16
  /regedit4  write the older version, REGEDIT4, in UTF-8
`

const importUsage = `REG IMPORT FILE

The file is a .reg file of either version, in UTF-16 with a byte order mark, or in UTF-8.
`

func (r *regRun) add() error {
	name, err := parseKey(r.words[0])
	if err != nil {
		return err
	}
	value := r.has("v") || r.has("ve") || r.has("t") || r.has("d")
	v := cm.Value{Name: r.switches["v"], Type: nt.REG_SZ}
	if r.has("v") && r.has("ve") {
		return syntax("/v and /ve exclude each other.")
	}
	if value {
		if err := r.addData(&v); err != nil {
			return err
		}
	}
	if value && !r.has("f") {
		there := false
		err := r.with(false, func() error {
			if k, err := r.key(name, false); err == nil {
				_, status := k.Value(v.Name)
				there = status == nt.STATUS_SUCCESS
			}
			return nil
		})
		if err != nil {
			return err
		}
		if there {
			if err := r.confirm("Value %s exists, overwrite", shownName(v.Name)); err != nil {
				return err
			}
		}
	}
	err = r.with(true, func() error {
		return r.batch(func() error {
			k, _, status := r.reg.Create(nil, name.path, cm.CreateOptions{Parents: true})
			if status == nt.STATUS_SUCCESS && value {
				status = k.Set(v.Name, v.Type, v.Data)
			}
			return failure(status)
		})
	})
	if err != nil {
		return err
	}
	return r.done()
}

// failure gives a status as an error, or nil for a success.
func failure(status nt.Status) error {
	if status == nt.STATUS_SUCCESS {
		return nil
	}
	return status
}

func shownName(name string) string {
	if name == "" {
		return "(Default)"
	}
	return name
}

// addData makes the data of /t and /d.
func (r *regRun) addData(v *cm.Value) error {
	if r.has("t") {
		t, ok := typeNumber(r.switches["t"])
		if !ok {
			return syntax(fmt.Sprintf("%s is no type of a value.", r.switches["t"]))
		}
		v.Type = t
	}
	data := r.switches["d"]
	if r.has("s") && (v.Type != nt.REG_MULTI_SZ || r.switches["s"] == "") {
		return syntax("/s is for REG_MULTI_SZ, and wants a separator.")
	}
	switch v.Type {
	case nt.REG_SZ, nt.REG_EXPAND_SZ, nt.REG_NONE:
		v.Data = cm.SZ(data)
	case nt.REG_MULTI_SZ:
		separator := `\0`
		if r.has("s") {
			separator = r.switches["s"]
		}
		var all []string
		if data = strings.TrimSuffix(data, separator); data != "" {
			all = strings.Split(data, separator)
		}
		for _, s := range all {
			if s == "" {
				return syntax("A text of a REG_MULTI_SZ is empty.")
			}
		}
		v.Data = cm.MultiSZ(all...)
	case nt.REG_DWORD, nt.REG_DWORD_BIG_ENDIAN, nt.REG_QWORD:
		bits := 32
		if v.Type == nt.REG_QWORD {
			bits = 64
		}
		n, err := number(data, bits)
		if err != nil {
			return syntax("Specify valid numeric value for '/d'.")
		}
		switch v.Type {
		case nt.REG_QWORD:
			v.Data = cm.QWord(n)
		case nt.REG_DWORD:
			v.Data = cm.DWord(uint32(n))
		default:
			v.Data = cm.DWord(uint32(n))
			slices.Reverse(v.Data)
		}
	case nt.REG_LINK:
		return syntax("A REG_LINK cannot be set here.")
	default:
		if len(data)%2 != 0 {
			data = "0" + data
		}
		b, err := hex.DecodeString(data)
		if err != nil {
			return syntax("Specify valid binary value for '/d'.")
		}
		v.Data = b
	}
	return nil
}

// number reads a number in decimal, or in hexadecimal behind 0x.
func number(s string, bits int) (uint64, error) {
	s = strings.ToLower(s)
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		return strconv.ParseUint(digits, 16, bits)
	}
	return strconv.ParseUint(s, 10, bits)
}

func (r *regRun) delete() error {
	name, err := parseKey(r.words[0])
	if err != nil {
		return err
	}
	given := 0
	for _, s := range []string{"v", "ve", "va"} {
		if r.has(s) {
			given++
		}
	}
	value, tree := r.has("v") || r.has("ve"), given == 0
	switch {
	case given > 1:
		return syntax("/v, /ve and /va exclude each other.")
	case tree && name.root:
		return errDenied
	}
	if !r.has("f") {
		err := r.with(false, func() error {
			k, err := r.key(name, tree)
			if err == nil && value {
				_, status := k.Value(r.switches["v"])
				err = failure(status)
			}
			return err
		})
		switch {
		case err != nil:
		case value:
			err = r.confirm("Delete the registry value %s", shownName(r.switches["v"]))
		case tree:
			err = r.confirm("Permanently delete the registry key %s", name.shown)
		default:
			err = r.confirm("Delete all values under the registry key %s", name.shown)
		}
		if err != nil {
			return err
		}
	}
	err = r.with(true, func() error {
		k, err := r.key(name, tree)
		if err != nil {
			return err
		}
		return r.batch(func() error {
			switch {
			case value:
				return failure(k.DeleteValue(r.switches["v"]))
			case tree:
				return failure(k.DeleteTree())
			}
			for {
				v, status := k.ValueAt(0)
				if status == nt.STATUS_NO_MORE_ENTRIES {
					return nil
				}
				if status == nt.STATUS_SUCCESS {
					status = k.DeleteValue(v.Name)
				}
				if status != nt.STATUS_SUCCESS && status != nt.STATUS_OBJECT_NAME_NOT_FOUND {
					return status
				}
			}
		})
	})
	if err != nil {
		return err
	}
	return r.done()
}

func (r *regRun) export() error {
	name, err := parseKey(r.words[0])
	if err != nil {
		return err
	}
	if r.has("utf8") && r.has("regedit4") {
		return syntax("/utf8 and /regedit4 exclude each other.")
	}
	file := r.words[1]
	var text bytes.Buffer
	err = r.with(false, func() error {
		k, err := r.key(name, false)
		switch {
		case err != nil:
			return err
		case r.has("regedit4"):
			return k.ExportRegedit4(&text, name.shown)
		}
		return k.ExportAs(&text, name.shown)
	})
	if err != nil {
		return err
	}
	if file == "-" {
		_, err := r.out.Write(text.Bytes())
		return err
	}
	if err := r.overwrite(file); err != nil {
		return err
	}
	data := text.Bytes()
	if !r.has("utf8") && !r.has("regedit4") {
		data = append([]byte{0xFF, 0xFE}, cm.Encode(text.String(), false)...)
	}
	if err := os.WriteFile(file, data, 0o666); err != nil {
		return fileError(err)
	}
	return r.done()
}

// overwrite asks about a file that is there, unless /y is given.
func (r *regRun) overwrite(file string) error {
	if _, err := os.Stat(file); err != nil || r.has("y") {
		return nil
	}
	return r.confirm("File %s already exists. Do you want to overwrite", file)
}

func (r *regRun) importFile() error {
	name, in := r.words[0], io.Reader(os.Stdin)
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return fileError(err)
		}
		defer file.Close()
		in = file
	}
	edits, err := cm.Parse(name, in)
	if err != nil {
		return err
	}
	err = r.with(true, func() error {
		return r.batch(func() error { return r.reg.Do(edits) })
	})
	if err != nil {
		if e := regText(err); e != err { // the line is worth knowing
			return fmt.Errorf("%w (%s: %w)", e, name, err)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	return r.done()
}

// fileError is about a file that is not the registry's.
func fileError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return regError(fmt.Sprintf("The system cannot find the file specified. (%v)", err))
	}
	return err
}
