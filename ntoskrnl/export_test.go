package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRowsAreConsistent(t *testing.T) {
	rows := Exports()
	for i := range rows {
		row := &rows[i]
		if i > 0 {
			require.NotEqual(t, rows[i-1].Name, row.Name, "two rows for one name")
		}
		require.Equal(t, row.Support != Stub, row.Implemented(), "%s is %v", row.Name, row.Support)
		require.Equal(t, row.Support == Partial, row.Note != "",
			"%s: a note says what is missing of a partial export", row.Name)
		ways := 0
		for _, set := range []bool{row.Fn != nil, row.Code != nil, row.Data != 0} {
			if set {
				ways++
			}
		}
		require.LessOrEqual(t, ways, 1, "%s is function, code and variable", row.Name)
	}
}
