package service

// The crashes that hosts have kept: which there are, whose they are, and how many stay.
//
// Hosts write them, and a hostile driver can write anything there: what is read is bounded and followed
// nowhere else, and what is known of a crash by the manager itself lies in crashes.json beside.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// CrashesDir is where, in the state directory, the hosts of services keep their crashes.
const CrashesDir = "crashes"

const crashIndexFile = "crashes.json"

// Crash is a crash that is kept.
type Crash struct {
	ID       string    `json:"id"` // its folder's name
	Time     time.Time `json:"time"`
	Services []string  `json:"services"` // that were in the host, if that is known
	Driver   string    `json:"driver"`
	PID      int       `json:"pid"`
	Bugcheck string    `json:"bugcheck"` // name and reason, or what is wrong with the report
	Bytes    int64     `json:"bytes"`    // on the disk
	Path     string    `json:"path"`     // of the folder
}

// told is what a manager knows of a crash.
type told struct {
	Services []string `json:"services"`
}

// crashName is what a folder of a crash is called: see package crash.
var crashName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([0-9A-Za-z_.]{1,64})-(\d{8}T\d{6})-(\d{1,10})$`)
})

// maxReport bounds how much of a report is read, maxReason what is told of one.
const (
	maxReport = 16 << 20
	maxReason = 500
)

// CrashList is a directory with crashes.
type CrashList struct {
	path  string
	index string // crashes.json, or ""
}

// ListCrashes gives the directory of a manager's crashes. index is the state directory, in which lies
// whose crashes they are, or "" for a directory without a manager.
func ListCrashes(path, index string) CrashList {
	if index != "" {
		index = filepath.Join(index, crashIndexFile)
	}
	return CrashList{path, index}
}

// All gives the crashes, oldest first.
func (l CrashList) All() ([]Crash, error) {
	root, err := os.OpenRoot(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	dirs, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	known := l.known()
	var all []Crash
	for _, d := range dirs {
		c, ok := crashOf(d)
		if !ok {
			continue
		}
		c.Path, c.Services = filepath.Join(l.path, c.ID), known[c.ID].Services
		c.Bytes = diskUse(root, c.ID)
		c.Bugcheck = bugcheckOf(root, c.ID)
		all = append(all, c)
	}
	slices.SortFunc(all, olderCrash)
	return all, nil
}

func olderCrash(a, b Crash) int {
	if c := a.Time.Compare(b.Time); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

// crashOf reads the name of a crash's folder.
func crashOf(d fs.DirEntry) (c Crash, ok bool) {
	parts := crashName().FindStringSubmatch(d.Name())
	if parts == nil || !d.IsDir() {
		return c, false
	}
	when, err := time.Parse("20060102T150405", parts[2])
	pid, e := strconv.Atoi(parts[3])
	return Crash{ID: d.Name(), Time: when, Driver: parts[1], PID: pid}, err == nil && e == nil
}

// diskUse gives how much the files in a folder take.
func diskUse(root *os.Root, dir string) (n int64) {
	files, _ := fs.ReadDir(root.FS(), dir) // what cannot be seen counts as nothing
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
	}
	return n
}

// readIn reads a regular file of a crash.
func readIn(root *os.Root, name string) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	case info.Size() > maxReport:
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxReport)
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if n == len(b) {
		err = nil
	}
	return b[:n], err
}

func bugcheckOf(root *os.Root, dir string) string {
	b, err := readIn(root, filepath.Join(dir, "report.json"))
	var r struct{ Name, Reason string }
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	text := r.Name
	switch {
	case errors.Is(err, os.ErrNotExist):
		text = "(no report)"
	case err != nil:
		text = "(the report cannot be read)"
	case r.Reason != "":
		text += ": " + r.Reason
	}
	return text[:min(len(text), maxReason)]
}

// Report reads the report of a crash, for people or as JSON. The error is os.ErrNotExist if there is no
// such crash, or no report in it.
func (l CrashList) Report(id string, asJSON bool) (string, error) {
	if !crashName().MatchString(id) {
		return "", fmt.Errorf("crash %q: %w", id, os.ErrNotExist)
	}
	root, err := os.OpenRoot(l.path)
	if err != nil {
		return "", err
	}
	defer root.Close()
	name := "report.txt"
	if asJSON {
		name = "report.json"
	}
	b, err := readIn(root, filepath.Join(id, name))
	if err != nil {
		return "", fmt.Errorf("crash %s: %w", id, err)
	}
	return string(b), nil
}

// Prune removes crashes: those before a time, if it is not zero, and the oldest until limits hold that
// are not 0. The newest one stays, unless it is before the time. It gives those that it has removed.
func (l CrashList) Prune(limits CrashLimits, before time.Time) (gone []Crash, err error) {
	all, err := l.All()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	root, err := os.OpenRoot(l.path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var bytes int64
	for _, c := range all {
		bytes += c.Bytes
	}
	for i, c := range all {
		left := len(all) - i
		old := !before.IsZero() && c.Time.Before(before)
		many := left > 1 && (limits.Keep > 0 && left > limits.Keep ||
			limits.Bytes > 0 && bytes > limits.Bytes)
		if !old && !many {
			break
		}
		if e := root.RemoveAll(c.ID); e != nil {
			err = errors.Join(err, e)
			continue
		}
		bytes -= c.Bytes
		gone = append(gone, c)
	}
	return gone, err
}

// known reads the index. What cannot be read is nothing.
func (l CrashList) known() map[string]told {
	known := map[string]told{}
	if b, err := os.ReadFile(l.index); l.index == "" || err != nil || json.Unmarshal(b, &known) != nil {
		return map[string]told{}
	}
	return known
}

// crashIndex is what a manager knows of crashes.
type crashIndex struct {
	list CrashList

	pruning sync.Mutex // taken before mu

	mu    sync.Mutex       // guards what follows
	known map[string]told  // by ID
	of    map[string]Crash // the last one of a service, by its folded name
}

func (x *crashIndex) open(state, dir string) {
	x.list = ListCrashes(dir, state)
	x.known, x.of = x.list.known(), map[string]Crash{}
	all, _ := x.list.All() // what cannot be seen is not told of
	for _, c := range all {
		x.add(c)
	}
}

// attribute finds out whose crashes are those that no manager was told of: of the one service whose
// driver's file has the name.
func (m *Manager) attribute() {
	x := &m.crashes
	of := map[string][]string{}
	for _, c := range m.Configs() {
		driver := strings.TrimSuffix(filepath.Base(c.ImagePath), ".sys")
		of[driver] = append(of[driver], c.Name)
	}
	all, _ := x.list.All()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range all {
		if _, known := x.known[c.ID]; !known && len(of[c.Driver]) == 1 {
			c.Services = of[c.Driver]
			x.known[c.ID] = told{c.Services}
			x.add(c)
		}
	}
}

// add notes a crash as the last one of its services.
func (x *crashIndex) add(c Crash) {
	for _, name := range c.Services {
		if c.Time.After(x.of[cm.Fold(name)].Time) {
			x.of[cm.Fold(name)] = c
		}
	}
}

// last gives the last crash of a service that is kept, or nil.
func (x *crashIndex) last(name string) *Crash {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c, ok := x.of[cm.Fold(name)]; ok {
		return &c
	}
	return nil
}

// crashed notes the crash of a host, of which it has told itself, and removes old ones.
func (m *Manager) crashed(l *link, services []string) {
	x := &m.crashes
	slices.Sort(services)
	c := Crash{Time: time.Now().UTC(), Services: services, PID: l.pid,
		Bugcheck: l.crash.Crash[:min(len(l.crash.Crash), maxReason)]}
	// The host may be hostile: a path that is not one of a crash here is none.
	dir, id := filepath.Split(l.crash.Report)
	if parts := crashName().FindStringSubmatch(id); parts != nil && filepath.Clean(dir) == x.list.path {
		c.ID, c.Path, c.Driver = id, filepath.Join(x.list.path, id), parts[1]
	}
	x.mu.Lock()
	x.add(c)
	if c.ID != "" {
		x.known[c.ID] = told{services}
	}
	err := x.write()
	x.mu.Unlock()
	if err != nil {
		m.log.Warn("the list of crashes", "error", err)
	}
	go m.prune() // which may take its time
}

// prune removes crashes until the settings' limits hold.
func (m *Manager) prune() {
	x := &m.crashes
	x.pruning.Lock()
	defer x.pruning.Unlock()
	if x.list.path == "" {
		return
	}
	if _, err := x.list.Prune(m.limits().Crashes, time.Time{}); err != nil {
		m.log.Warn("old crashes", "error", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.DeleteFunc(x.known, func(id string, _ told) bool { return !x.there(id) })
	maps.DeleteFunc(x.of, func(_ string, c Crash) bool { return c.ID != "" && !x.there(c.ID) })
	if err := x.write(); err != nil {
		m.log.Warn("the list of crashes", "error", err)
	}
}

func (x *crashIndex) there(id string) bool {
	_, err := os.Lstat(filepath.Join(x.list.path, id))
	return err == nil
}

// write writes the index, in a way that leaves the old or the new one. x.mu is held.
func (x *crashIndex) write() error {
	b, err := json.Marshal(x.known)
	if err != nil {
		return err
	}
	if err := os.WriteFile(x.list.index+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(x.list.index+".new", x.list.index)
}
