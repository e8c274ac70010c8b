package driverhost

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTextsOfDriversAreMadeHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n\ttext": "plain\n\ttext", "\x1b[2J": `\x1b[2J`, "a\r\n": "a\n", "ä€": "ä€",
		"\xff": `\xff`, "\u009b1m": `\x9b1m`, "\x7f\x00": `\x7f\x00`,
	} {
		assert.Equal(t, want, Printable(text))
	}
}

func TestHexIsAStringInJSON(t *testing.T) {
	data, err := json.Marshal(map[string]Hex{"a": 0x1a})
	require.NoError(t, err)
	assert.JSONEq(t, `{"a": "0x1a"}`, string(data))
	var back map[string]Hex
	require.NoError(t, json.Unmarshal(data, &back))
	assert.EqualValues(t, 0x1a, back["a"])
	assert.Error(t, json.Unmarshal([]byte(`{"a": "x"}`), &back))
}

func TestCallsAreLoggedByComponent(t *testing.T) {
	for name, want := range map[string]string{
		"IoCreateDevice(x=1) = 0": "io", "IofCompleteRequest()": "io", "KeSetEvent()": "ke",
		"ExAllocatePoolWithTag": "ex", "ExpInterlockedPopEntrySList": "ex", "DbgPrint()": "dbg",
		"memcpy()": "crt", "RtlInitUnicodeString": "rtl", "FsRtlIsNameInExpression": "fsrtl",
		"ntoskrnl.exe!MmMapIoSpace": "mm", "ZwClose": "zw", "READ_REGISTER_UCHAR": "other",
		"PsGetCurrentProcess": "ps", "__C_specific_handler": "crt", "": "other", "Io": "other",
		"KfRaiseIrql": "ke", "ProbeForRead": "mm", "HalGetBusData": "hal",
	} {
		assert.Equal(t, want, component(name), name)
	}
	var b strings.Builder
	log := hclog.New(&hclog.LoggerOptions{Output: &b, DisableTime: true, IndependentLevels: true,
		SubloggerHook: func(l hclog.Logger) hclog.Logger {
			if l.Name() == "io" {
				l.SetLevel(hclog.Debug)
			}
			return l
		}})
	trace := TraceTo(log)
	trace("a.sys+0x1 IoCreateDevice() = 0x0")
	trace("a.sys+0x2 KeSetEvent() = 0x0")
	assert.Equal(t, "[DEBUG] io: a.sys+0x1 IoCreateDevice() = 0x0\n", b.String())
	assert.True(t, IsComponent("ke"))
	assert.False(t, IsComponent("wire"))
	assert.Subset(t, LogNames(), []string{"host", "wire", "kernel", "io", "rtl", "crt"})
}
