// The generated tables are in rising order, and every name in them reads back.
package nt

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryStatusNameReadsBack(t *testing.T) {
	require.Greater(t, len(statusRows), 1600)
	for i, r := range statusRows {
		assert.True(t, i == 0 || statusRows[i-1].value < r.value, "%s is out of order", r.name)
		assert.Equal(t, r.name, r.value.String())
		got, err := ParseStatus(r.name)
		require.NoError(t, err)
		assert.Equal(t, r.value, got, r.name)
	}
	for _, r := range statusRowsAliases {
		got, err := ParseStatus(r.name)
		require.NoError(t, err)
		assert.Equal(t, r.value, got, r.name)
		assert.NotEqual(t, r.name, r.value.String())
	}
}

func TestEveryBugCheckNameReadsBack(t *testing.T) {
	require.Greater(t, len(bugCheckRows), 300)
	for i, r := range bugCheckRows {
		assert.True(t, i == 0 || bugCheckRows[i-1].value < r.value, "%s is out of order", r.name)
		assert.Equal(t, r.name, r.value.String())
		got, err := ParseBugCheck(r.name)
		require.NoError(t, err)
		assert.Equal(t, r.value, got, r.name)
	}
}
