// Every offset, size and alignment is what Windows has: mingw's headers say so, or a correction.
package nt_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/nt/internal/layouts"
)

// golden reads what the headers say: by structure and field an offset, by structure and field@size a
// size.
func golden(t *testing.T) map[string]*fact {
	facts := map[string]*fact{}
	lines(t, "layouts_amd64.golden", func(at string, f []string) {
		if len(f) == 5 && f[1] == "@size" && f[3] == "@align" {
			for _, i := range []int{1, 3} {
				v, ok := number(t, at, f[i+1])
				facts[f[0]+" "+f[i]] = &fact{value: v, inHeaders: ok}
			}
			return
		}
		require.Len(t, f, 4, at)
		for i, suffix := range []string{"", "@size"} {
			v, ok := number(t, at, f[2+i])
			facts[f[0]+" "+f[1]+suffix] = &fact{value: v, inHeaders: ok}
		}
	})
	return facts
}

// correct puts the corrections over the facts, and refuses one that does not fit them.
func correct(t *testing.T, facts map[string]*fact) {
	sourced := false
	lines(t, "layouts_amd64.corrections", func(at string, f []string) {
		if f[0] == "#" {
			sourced = len(f) > 2
			return
		}
		require.Len(t, f, 4, at)
		require.True(t, sourced, "%s: no source above this correction", at)
		key := f[0] + " " + f[1]
		known := facts[key]
		require.NotNil(t, known, "%s: there is no %s", at, key)
		require.False(t, known.corrected, "%s: %s is corrected twice", at, key)
		was, present := number(t, at, f[2])
		require.Equal(t, known.inHeaders, present, "%s: whether mingw has %s", at, key)
		require.Equal(t, known.value, was, "%s: what mingw says of %s", at, key)
		v, ok := number(t, at, f[3])
		require.True(t, ok, at)
		require.False(t, present && v == was, "%s: corrects nothing", at)
		known.value, known.corrected = v, true
	})
}

func TestLayoutsAreWindows(t *testing.T) {
	facts := golden(t)
	correct(t, facts)
	held := map[string]bool{}
	hold := func(key string, got uintptr) {
		held[key] = true
		f := facts[key]
		if assert.NotNil(t, f, "the golden file lacks %s: run testdata/regen.sh", key) &&
			assert.True(t, f.known(),
				"neither the headers nor a correction say what %s is; Go has 0x%X", key, got) {
			assert.EqualValues(t, f.value, got, "%s: want 0x%X, Go has 0x%X", key, f.value, got)
		}
	}
	for _, l := range layouts.All {
		if l.Partial {
			// Only the beginning: the whole must be longer, or as long.
			held[l.C+" @size"] = true
			if f := facts[l.C+" @size"]; assert.NotNil(t, f, l.C) && l.C != "KPCR" {
				assert.True(t, f.known(), "%s: size unknown", l.C)
				assert.GreaterOrEqual(t, uintptr(f.value), l.Type.Size(), "%s @size", l.C)
			}
		} else {
			hold(l.C+" @size", l.Type.Size())
		}
		// Go aligns to 8 at most; where Windows wants more, the size must be a multiple all the same.
		if f := facts[l.C+" @align"]; assert.NotNil(t, f, l.C) {
			held[l.C+" @align"] = true
			assert.True(t, f.known(), "%s: alignment unknown", l.C)
			if strings.Contains(l.C, ".") {
				// A member of a union, which lies as the union does.
				assert.GreaterOrEqual(t, f.value, uint64(l.Type.Align()), "%s @align", l.C)
			} else {
				assert.EqualValues(t, min(f.value, 8), l.Type.Align(), "%s @align", l.C)
			}
			if f.value > 0 && !l.Partial {
				assert.Zero(t, uint64(l.Type.Size())%f.value, "%s: size and alignment", l.C)
			}
		}
		for _, field := range layouts.Fields(l.Type) {
			key := l.C + " " + field.Path
			hold(key, field.Offset)
			held[key+"@size"] = true
			if f := facts[key+"@size"]; f != nil && f.known() {
				assert.EqualValues(t, f.value, field.Size, "size of %s", key)
			}
		}
	}
	for key := range facts {
		assert.True(t, held[key], "the golden file has %s, Go has not: run testdata/regen.sh", key)
	}
}

func TestEveryStructureIsALayoutOrNamedHere(t *testing.T) {
	// What is no layout: none of these lies in guest memory.
	plain := map[string]string{
		"SID":        "a decoded SID; AppendBinary gives the layout",
		"ACE":        "a decoded entry of an ACL",
		"Descriptor": "a decoded security descriptor; Append gives the layout",
	}
	listed := map[string]bool{}
	for _, l := range layouts.All {
		assert.False(t, listed[l.Type.Name()], "%s is listed twice", l.Type.Name())
		listed[l.Type.Name()] = true
		assert.Equal(t, reflect.Struct, l.Type.Kind(), l.C)
	}
	declared, err := layouts.Sources(".")
	require.NoError(t, err)
	require.Greater(t, len(declared.Structs), 50)
	for _, name := range declared.Structs {
		assert.True(t, listed[name] != (plain[name] != ""),
			"%s must be in internal/layouts or, if it is no layout, named here, not both", name)
	}
}

func TestNamedSizesAndOffsets(t *testing.T) {
	facts := golden(t)
	correct(t, facts)
	for key, got := range map[string]uintptr{
		"IRP @size":                              nt.IRPSize,
		"IRP @align":                             nt.IRPAlign,
		"IO_STACK_LOCATION @size":                nt.IOStackLocationSize,
		"DEVICE_OBJECT @align":                   nt.DeviceObjectAlign,
		"SLIST_HEADER @align":                    nt.SListEntryAlign,
		"GENERAL_LOOKASIDE @align":               nt.LookasideAlign,
		"CONTEXT @align":                         nt.ContextAlign,
		"KPRCB @size":                            nt.KPRCBSize,
		"KPCR Prcb":                              nt.KPCRPrcbOffset,
		"KPCR Self":                              nt.GSSelf,
		"KPCR CurrentPrcb":                       nt.GSCurrentPrcb,
		"KPCR Irql":                              nt.GSCurrentIrql,
		"KPRCB CurrentThread":                    nt.GSCurrentThread - nt.KPCRPrcbOffset,
		"KPRCB Number":                           nt.GSProcessorNumber - nt.KPCRPrcbOffset,
		"RTL_OSVERSIONINFOEXW WServicePackMajor": nt.RTLOSVersionInfoWSize,
	} {
		if f := facts[key]; assert.NotNil(t, f, key) {
			assert.EqualValues(t, f.value, got, key)
		}
	}
	assert.EqualValues(t, 0xD0+3*0x48, nt.IoSizeOfIrp(3))
}
