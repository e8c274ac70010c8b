package main

// DATA and CODE as they are written on a command line, and output as it is shown.

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const dataHelp = `DATA is text as it stands, or one of
  hex:68 65 6c 6c 6f   bytes in hexadecimal; spaces, colons and commas between them are allowed
  @FILE                what a file contains
  -                    what standard input gives
  text:@home           text that would mean something else without the prefix`

// parseData gives the bytes that a DATA argument stands for.
func parseData(arg string, stdin io.Reader) ([]byte, error) {
	if rest, ok := strings.CutPrefix(arg, "hex:"); ok {
		digits := strings.NewReplacer(" ", "", ":", "", ",", "", "\n", "", "\t", "").Replace(rest)
		data, err := hex.DecodeString(digits)
		if err != nil {
			return nil, usage("%s: want pairs of hexadecimal digits after hex: (%v)", arg, err)
		}
		return data, nil
	}
	if rest, ok := strings.CutPrefix(arg, "@"); ok {
		return os.ReadFile(rest)
	}
	if arg == "-" {
		return io.ReadAll(stdin)
	}
	rest, _ := strings.CutPrefix(arg, "text:")
	return []byte(rest), nil
}

// parseCode reads an I/O control code: 0x222004 or 2236420.
func parseCode(arg string) (uint32, error) {
	digits, base := arg, 10
	if rest, ok := strings.CutPrefix(strings.ToLower(arg), "0x"); ok {
		digits, base = rest, 16
	}
	code, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return 0, usage("%s is no I/O control code: want 0x and hexadecimal digits, or a decimal "+
			"number below 2^32", arg)
	}
	return uint32(code), nil
}

// The forms of output.
const (
	outputAuto = "auto"
	outputText = "text"
	outputHex  = "hex"
	outputRaw  = "raw"
)

const outputHelp = "`form` of the output: text, hex (a dump), raw (the bytes and nothing else on " +
	"standard output), or auto: text if it is printable, else hex"

// showData writes data in one of the forms.
func showData(w io.Writer, data []byte, form string) error {
	if form == outputAuto {
		form = outputHex
		if printable(data) {
			form = outputText
		}
	}
	var err error
	switch form {
	case outputRaw:
		_, err = w.Write(data)
	case outputHex:
		_, err = io.WriteString(w, hex.Dump(data))
	default:
		if len(data) > 0 {
			_, err = fmt.Fprintf(w, "%s\n", strings.TrimSuffix(string(data), "\n"))
		}
	}
	return err
}

// printable says whether data is text that can do a terminal no harm.
func printable(data []byte) bool {
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return false
		}
		data = data[n:]
	}
	return true
}
