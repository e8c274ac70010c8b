package rtl

// The text of DbgPrint, DbgPrintEx, vDbgPrintEx and vDbgPrintExWithPrefix.

import "github.com/drvhost/drvhost/nt"

// DbgPrintSize is the most that one DbgPrint call transmits, in bytes ("DbgPrint function").
const DbgPrintSize = 512

// DbgPrint puts prefix and the formatted text into buf and returns its length in bytes. Text that
// does not fit is cut, and its last byte becomes a newline, so that lines stay apart. On an error
// (see [FormatGuest]) n counts what was formatted before it.
func DbgPrint(
	buf *[DbgPrintSize]byte, prefix string, format nt.Addr, args Args,
) (n int, err error) {
	k := copy(buf[:], prefix)
	n, cut, err := FormatGuest(buf[k:], format, false, args)
	n += k
	if cut {
		n = len(buf)
		buf[n-1] = '\n'
	}
	return n, err
}
