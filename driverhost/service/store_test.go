package service

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("DRVHOST_TEST_STORE"); path != "" {
		writeForEver(path)
	}
	os.Exit(m.Run())
}

func openStore(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, cm.New)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() }) // it may be closed already
	return s
}

const software = `\Registry\Machine\Software`

func dump(r *cm.Registry) string {
	var b strings.Builder
	for c := range r.Changes {
		fmt.Fprintf(&b, "%v %s %q %d %x %v %v\n", c.Op, c.Key, c.Name, c.Type, c.Data, c.Link,
			c.Volatile)
	}
	return b.String()
}

func TestARegistryIsTheSameWhenItIsOpenedAgain(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { reopenScrambled(t, seed) })
	}
}

// reopenScrambled does random things to a registry, and looks at it before and after a new start.
func reopenScrambled(t *testing.T, seed uint64) {
	path := filepath.Join(t.TempDir(), "state", "registry.db")
	s := openStore(t, path)
	random := rand.New(rand.NewPCG(seed, 1))
	name := func() string { return []string{"a", "B", "b-c", "a-", "é", "d"}[random.IntN(6)] }
	// A key that stays: what comes below one that the first step made volatile would not be kept.
	_, _, status := s.Registry.Create(nil, software, cm.CreateOptions{Parents: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.NoError(t, s.Batch(func() error {
		for range 500 {
			key := software
			for range 1 + random.IntN(4) {
				key += `\` + name()
			}
			k, _, status := s.Registry.Create(nil, key, cm.CreateOptions{Parents: true,
				Volatile: random.IntN(9) == 0})
			if status != nt.STATUS_SUCCESS {
				continue
			}
			switch random.IntN(7) {
			case 0, 1, 2:
				k.Set(name(), uint32(random.IntN(12)), []byte(name()))
			case 3:
				k.DeleteValue(name())
			case 4:
				k.Delete()
			case 5:
				k.Rename(name())
			case 6:
				k.SetSecurity([]byte(name()))
			}
		}
		return nil
	}))
	before := dump(s.Registry)
	require.NotEmpty(t, before)
	require.NoError(t, s.Close())
	assert.Equal(t, before, dump(openStore(t, path).Registry))
}

func TestWhatIsVolatileIsGoneWithTheMachinesStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	const hardware, plain = `\Registry\Machine\Hardware`, `\Registry\Machine\Plain`
	fresh := func() *cm.Registry {
		r := cm.New()
		_, _, status := r.Create(nil, hardware, cm.CreateOptions{Volatile: true})
		require.Equal(t, nt.STATUS_SUCCESS, status)
		return r
	}
	there := func(s *Store, path string) bool {
		_, status := s.Registry.Open(nil, path, false)
		return status == nt.STATUS_SUCCESS
	}
	for i, start := range []struct {
		boot string
		here bool // what was made before
	}{{"a", false}, {"a", true}, {"b", false}, {"b", true}} {
		s, err := open(path, start.boot, fresh)
		require.NoError(t, err)
		assert.True(t, there(s, hardware))
		assert.Equal(t, start.here, there(s, hardware+`\Made`), start.boot)
		assert.Equal(t, i > 0, there(s, plain))
		assert.Equal(t, start.here, there(s, plain+`\v\w`))
		for _, path := range []string{hardware + `\Made`, plain, plain + `\v\w`} {
			_, _, status := s.Registry.Create(nil, path, cm.CreateOptions{Parents: true,
				Volatile: path != plain})
			require.Equal(t, nt.STATUS_SUCCESS, status)
		}
		require.NoError(t, s.Close())
	}
}

func TestAFileOfFormat1IsUpgraded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error {
		f, err := tx.CreateBucket(bucketFormat)
		require.NoError(t, err)
		require.NoError(t, f.Put(formatKey, []byte("1")))
		keys, err := tx.CreateBucket(bucketKeys)
		require.NoError(t, err)
		return keys.Put([]byte(`\REGISTRY\MACHINE\K`), []byte(`{"path":"\\REGISTRY\\MACHINE\\k",`+
			`"class":"c","values":[{"name":"b","type":4,"data":"AQAAAA=="},{"name":"","type":1,"data":""}]}`))
	}))
	require.NoError(t, db.Close())
	for range 2 {
		s := openStore(t, path)
		k, status := s.Registry.Open(nil, `\Registry\Machine\k`, false)
		require.Equal(t, nt.STATUS_SUCCESS, status)
		info, _ := k.Info()
		assert.Equal(t, "c", info.Class)
		require.Equal(t, 2, info.Values)
		v, _ := k.ValueAt(0)
		assert.Equal(t, cm.Value{Name: "b", Type: 4, Data: cm.DWord(1)}, v)
		require.NoError(t, s.Close())
	}
}

func TestAStoreIsOpenOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	s := openStore(t, path)
	_, err := Open(path, cm.New)
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, s.Close())
	_, _, status := s.Registry.Create(nil, software, cm.CreateOptions{})
	assert.Equal(t, nt.STATUS_REGISTRY_IO_FAILED, status, "nothing is lost unseen")
	require.Error(t, s.Err())
}

func TestAForeignFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("no database", 5000)), 0o600))
	_, err := Open(path, cm.New)
	require.ErrorContains(t, err, path)
}

// writeForEver is the child of the test below: it counts in pairs of values, and says what is done.
func writeForEver(path string) {
	s, err := Open(path, cm.New)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	k, _, _ := s.Registry.Create(nil, software, cm.CreateOptions{})
	for i := 0; ; i++ {
		if err := s.Batch(func() error {
			k.Set("first", nt.REG_DWORD, cm.DWord(uint32(i)))
			k.Set("second", nt.REG_DWORD, cm.DWord(uint32(i)))
			_, _, _ = s.Registry.Create(k, strconv.Itoa(i), cm.CreateOptions{})
			return nil
		}); err != nil {
			os.Exit(1)
		}
		fmt.Println("done", i)
	}
}

func TestAKilledWriterLosesNothingThatWasDone(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "registry.db")
	for round := range 8 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), "DRVHOST_TEST_STORE="+path)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		done, stop := -1, 1+rand.IntN(6)
		for done < stop && lines.Scan() {
			_, err := fmt.Sscanf(lines.Text(), "done %d", &done)
			require.NoError(t, err, lines.Text())
		}
		require.NoError(t, cmd.Process.Kill())
		for lines.Scan() {
			_, _ = fmt.Sscanf(lines.Text(), "done %d", &done) // the last line may be cut off
		}
		_ = cmd.Wait()
		s := openStore(t, path)
		k, status := s.Registry.Open(nil, software, false)
		require.Equal(t, nt.STATUS_SUCCESS, status, round)
		first, _ := k.Value("first")
		second, _ := k.Value("second")
		assert.Equal(t, first.Data, second.Data, "a batch is done as a whole")
		n, ok := first.Number()
		require.True(t, ok)
		assert.GreaterOrEqual(t, int(n), done)
		_, status = s.Registry.Open(k, strconv.Itoa(int(n)), false)
		assert.Equal(t, nt.STATUS_SUCCESS, status)
		require.NoError(t, s.Close())
	}
}
