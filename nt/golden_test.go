// Reading the golden files and the corrections under testdata.
package nt_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fact is what is known of a field, or of a structure's "@size" or "@align", in bytes.
type fact struct {
	value     uint64
	inHeaders bool
	corrected bool
}

// known reports whether anything says what the value is.
func (f *fact) known() bool { return f.inHeaders || f.corrected }

// lines calls f for every line of a file under testdata that is no comment, with its fields.
func lines(t *testing.T, path string, f func(at string, fields []string)) {
	t.Helper()
	file, err := os.Open("testdata/" + path)
	require.NoError(t, err)
	defer file.Close()
	sc := bufio.NewScanner(file)
	for n := 1; sc.Scan(); n++ {
		text := strings.TrimSpace(sc.Text())
		if text != "" && (!strings.HasPrefix(text, "#") || strings.HasPrefix(text, "# source:")) {
			f(fmt.Sprintf("%s:%d", path, n), strings.Fields(text))
		}
	}
	require.NoError(t, sc.Err())
}

func number(t *testing.T, at, text string) (value uint64, present bool) {
	t.Helper()
	if text == "-" {
		return 0, false
	}
	v, err := strconv.ParseUint(text, 0, 64)
	require.NoError(t, err, at)
	return v, true
}
