package service

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keepCrash makes a folder as a host does.
func keepCrash(t *testing.T, dir, id, json string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, id), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, id, "report.json"), []byte(json), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, id, "report.txt"), []byte("text of "+id), 0o600))
}

func ids(all []Crash) (list []string) {
	for _, c := range all {
		list = append(list, c.ID)
	}
	return list
}

func TestCrashesAreListedOldestFirst(t *testing.T) {
	dir := t.TempDir()
	keepCrash(t, dir, "echo-20260102T000000-7", `{"name": "SECOND", "reason": "why"}`)
	keepCrash(t, dir, "zoo-20250102T000000-8", `{"name": "FIRST"}`)
	l := ListCrashes(dir, "")
	all, err := l.All()
	require.NoError(t, err)
	assert.Equal(t, []string{"zoo-20250102T000000-8", "echo-20260102T000000-7"}, ids(all))
	assert.Equal(t, "FIRST", all[0].Bugcheck)
	assert.Equal(t, "SECOND: why", all[1].Bugcheck)
	assert.Equal(t, 7, all[1].PID)
	assert.Equal(t, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), all[1].Time)
	text, err := l.Report(all[1].ID, false)
	require.NoError(t, err)
	assert.Equal(t, "text of echo-20260102T000000-7", text)
	none, err := ListCrashes(filepath.Join(dir, "none"), "").All()
	require.NoError(t, err)
	assert.Empty(t, none)
}

func TestWhatAHostileHostLeavesAmongTheCrashesDoesNoHarm(t *testing.T) {
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(`{"name": "SECRET"}`), 0o600))
	for i, make := range []func(folder string) error{
		func(f string) error { return os.Symlink(secret, filepath.Join(f, "report.json")) },
		func(f string) error { return syscall.Mkfifo(filepath.Join(f, "report.json"), 0o600) },
		func(f string) error { return os.Mkdir(filepath.Join(f, "report.json"), 0o700) },
		func(f string) error {
			return os.WriteFile(filepath.Join(f, "report.json"), []byte(`{"name": 1}`), 0o600)
		},
		func(f string) error { // of 1 TiB, and empty
			file, err := os.Create(filepath.Join(f, "report.json"))
			require.NoError(t, err)
			defer file.Close()
			return file.Truncate(1 << 40)
		},
		func(f string) error {
			return os.WriteFile(filepath.Join(f, "report.json"),
				[]byte(`{"name": "`+strings.Repeat("x", 1<<20)+`"}`), 0o600)
		},
	} {
		folder := filepath.Join(dir, fmt.Sprintf("evil-20260102T00000%d-1", i))
		require.NoError(t, os.Mkdir(folder, 0o700))
		require.NoError(t, make(folder))
	}
	require.NoError(t, os.Symlink(filepath.Dir(secret), filepath.Join(dir, "link-20260102T000000-1")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "not a crash"), 0o700))
	l := ListCrashes(dir, "")
	all, err := l.All()
	require.NoError(t, err)
	require.Len(t, all, 6)
	for _, c := range all {
		assert.NotContains(t, c.Bugcheck, "SECRET")
		assert.LessOrEqual(t, len(c.Bugcheck), maxReason)
		assert.Less(t, c.Bytes, int64(10<<20))
	}
	for _, id := range []string{"..", "../x", "link-20260102T000000-1/..", ""} {
		_, err := l.Report(id, false)
		assert.ErrorIs(t, err, os.ErrNotExist, id)
	}
	gone, err := l.Prune(CrashLimits{Keep: 1}, time.Time{})
	require.NoError(t, err)
	assert.Len(t, gone, 5)
	assert.FileExists(t, secret, "links are removed, and not followed")
	assert.DirExists(t, filepath.Join(dir, "not a crash"))
}

func TestOldCrashesGo(t *testing.T) {
	crashes := func(t *testing.T) CrashList {
		dir := t.TempDir()
		for i := range 5 {
			id := fmt.Sprintf("a-2026010%dT000000-1", i+1)
			keepCrash(t, dir, id, "{}")
			require.NoError(t, os.WriteFile(filepath.Join(dir, id, "core"), make([]byte, 1<<20), 0o600))
		}
		return ListCrashes(dir, "")
	}
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		fact   string
		limits CrashLimits
		before time.Time
		left   int
	}{
		{"by number", CrashLimits{Keep: 2}, time.Time{}, 2},
		{"by size", CrashLimits{Bytes: 3<<20 + 500<<10}, time.Time{}, 3},
		{"but the newest", CrashLimits{Bytes: 1}, time.Time{}, 1},
		{"by age", CrashLimits{}, day(4), 2},
		{"by age, all of them", CrashLimits{}, day(9), 0},
		{"by both", CrashLimits{Keep: 4}, day(4), 2},
		{"none", CrashLimits{Keep: 5}, day(1), 5},
	} {
		t.Run(c.fact, func(t *testing.T) {
			l := crashes(t)
			gone, err := l.Prune(c.limits, c.before)
			require.NoError(t, err)
			assert.Len(t, gone, 5-c.left)
			all, err := l.All()
			require.NoError(t, err)
			require.Len(t, all, c.left)
			if c.left > 0 {
				assert.Equal(t, "a-20260105T000000-1", all[c.left-1].ID)
			}
		})
	}
}

func TestTheLastCrashOfAServiceIsKnownAgain(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "registry.db"))
	crashes := filepath.Join(dir, CrashesDir)
	begin := func(keep int) *Manager {
		m, err := NewManager(ManagerOptions{Dir: dir, Store: s, CrashDir: crashes,
			Settings: Settings{Crashes: CrashLimits{Keep: keep}}})
		require.NoError(t, err)
		return m
	}
	m := begin(9)
	for _, name := range []string{"A", "B"} {
		require.NoError(t, m.Create(Config{Name: name, Type: KernelDriver, Start: DemandStart,
			ImagePath: "/" + name + ".sys"}))
	}
	last := func(name string) string {
		st, err := m.Query(name)
		require.NoError(t, err)
		if st.LastCrash == nil {
			return ""
		}
		return st.LastCrash.Path
	}
	assert.Empty(t, last("A"))
	keepCrash(t, crashes, "x-20260102T000000-1", `{"name": "X"}`)
	told := func(report string) {
		l := newLink(nil)
		l.crash = hostReply{Crash: "X: y", Report: report}
		m.crashed(l, []string{"A"})
	}
	told(filepath.Join(crashes, "x-20260102T000000-1"))
	assert.Equal(t, filepath.Join(crashes, "x-20260102T000000-1"), last("a"))
	told("/etc/x-20260102T000000-1") // a host may say anything
	assert.Empty(t, last("A"), "it has crashed, and nothing is kept")
	m.Close()
	keepCrash(t, crashes, "B-20260103T000000-1", `{"name": "Y"}`) // while nobody looked
	m = begin(9)
	assert.Equal(t, filepath.Join(crashes, "x-20260102T000000-1"), last("A"))
	assert.Equal(t, filepath.Join(crashes, "B-20260103T000000-1"), last("B"))
	m.Close()
	m = begin(1)
	assert.Empty(t, last("A"), "it is not kept any more")
	assert.NotEmpty(t, last("B"))
	m.Close()
}
