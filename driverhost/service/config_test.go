package service

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

func TestAConfigurationIsReadAsItWasStored(t *testing.T) {
	r := cm.New()
	k, _, status := r.Create(nil, ServicesKey+`\Foo`, cm.CreateOptions{Parents: true})
	require.True(t, status.Success())
	want := Config{Name: "Foo", Type: FileSystemDriver, Start: SystemStart, ErrorControl: ErrorSevere,
		ImagePath: "/foo.sys", DisplayName: "The Foo", Description: "foos", Group: "Base", Tag: 3,
		DependOnService: []string{"a", "b"}, DependOnGroup: []string{"g"}, HostGroup: "stack",
		Failure: FailureActions{ResetPeriod: 60, Actions: []Action{{ActionRestart, 1000}, {ActionNone, 0},
			{ActionRun, 7}, {ActionReboot, 8}}, Command: "/bin/true /fail=%1%", RebootMessage: "oh",
			OnNonCrash: true}}
	require.NoError(t, want.store(k))
	have, ok := readConfig(k, "Foo")
	assert.True(t, ok)
	assert.Equal(t, want, have)
	plain := Config{Name: "Foo", Type: KernelDriver, ImagePath: "/foo.sys"}
	require.NoError(t, plain.store(k))
	have, ok = readConfig(k, "Foo")
	assert.True(t, ok)
	assert.Equal(t, plain, have, "what is empty is deleted")
}

func TestTheLayoutOfFailureActions(t *testing.T) {
	want := []byte{60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 20, 0, 0, 0,
		1, 0, 0, 0, 0xE8, 3, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}
	f := FailureActions{ResetPeriod: 60,
		Actions: []Action{{ActionRestart, 1000}, {ActionRun, 1}, {ActionReboot, 0}}}
	assert.Equal(t, want, f.Bytes())
	have, ok := ParseFailureActions(want)
	assert.True(t, ok)
	assert.Equal(t, f, have)
}

func TestTheLastFailureActionIsRepeatedWithBackOff(t *testing.T) {
	f := FailureActions{Actions: []Action{{ActionRestart, 10}, {ActionRestart, 1000}}}
	for _, c := range []struct {
		failures int
		action   ActionType
		delay    time.Duration
	}{
		{0, ActionNone, 0},
		{1, ActionRestart, 10 * time.Millisecond},
		{2, ActionRestart, time.Second},
		{3, ActionRestart, 2 * time.Second},
		{5, ActionRestart, 8 * time.Second},
		{1000, ActionRestart, backoffLimit},
	} {
		action, delay := f.after(c.failures)
		assert.Equal(t, c.action, action, c.failures)
		assert.Equal(t, c.delay, delay, c.failures)
	}
}

func TestCirclesAreFound(t *testing.T) {
	all := []Config{{Name: "A", DependOnService: []string{"b"}}, {Name: "B", DependOnGroup: []string{"G"}},
		{Name: "C", Group: "g", DependOnService: []string{"A"}}, {Name: "D", DependOnService: []string{"A"}}}
	on := dependencies(all)
	for name, want := range map[string]bool{"A": true, "B": true, "C": true, "D": false} {
		assert.Equal(t, want, circular(on, name), name)
	}
}

func TestNamesOfUnitsAreShortAndTheirOwn(t *testing.T) {
	long := string(bytes.Repeat([]byte("é"), 255))
	seen := map[string]bool{}
	for _, c := range []Config{{Name: "a"}, {Name: "a b"}, {Name: "a-b"}, {Name: "..x"}, {Name: long},
		{Name: long[2:] + "e"}, {Name: "x", HostGroup: "a"}} {
		n := unitName(unitKey(&c))
		assert.False(t, seen[n], n)
		seen[n] = true
		assert.Less(t, len(n), 256)
		assert.NotContains(t, n, "/")
		assert.NotContains(t, n, ".")
	}
}

func FuzzFailureActions(f *testing.F) {
	f.Add(FailureActions{ResetPeriod: 60, Actions: []Action{{ActionRestart, 1000}}}.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := ParseFailureActions(b); ok {
			again, ok := ParseFailureActions(a.Bytes())
			assert.True(t, ok)
			assert.Equal(t, a, again)
		}
	})
}
