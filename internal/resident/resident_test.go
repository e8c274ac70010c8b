package resident

import (
	"bytes"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fileKiB gives how much of files the process has in memory.
func fileKiB(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, after, ok := bytes.Cut(b, []byte("RssFile:"))
	require.True(t, ok)
	n, err := strconv.Atoi(string(bytes.Fields(after)[0]))
	require.NoError(t, err)
	return n
}

func TestTrimGivesBackPagesOfTheProgram(t *testing.T) {
	spans, err := readOnly()
	require.NoError(t, err)
	require.NotEmpty(t, spans)
	sum := byte(0)
	for _, s := range spans {
		for i := 0; i < len(s); i += 4096 {
			sum += s[i]
		}
	}
	before := fileKiB(t)
	require.NoError(t, Trim())
	assert.Less(t, fileKiB(t), before/2)
	again := byte(0)
	for _, s := range spans {
		for i := 0; i < len(s); i += 4096 {
			again += s[i]
		}
	}
	assert.Equal(t, sum, again, "nothing has changed")
}
