package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/drvhost/drvhost/driverhost"
)

// Dir is a directory for crashes.
type Dir struct {
	root *os.Root
	path string
}

// Open makes the directory, if it is not there, and opens it.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("crash directory: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("crash directory: %w", err)
	}
	return &Dir{root, path}, nil
}

// Path gives the directory's path.
func (d *Dir) Path() string { return d.path }

// Close closes the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Keep writes what is known of a crash into a folder of its own, and gives its path. What cannot be
// written does not keep the rest from being written.
func (d *Dir) Keep(name string, r *driverhost.CrashReport) (string, error) {
	folder := fmt.Sprintf("%s-%s-%d", safe(name), time.Now().UTC().Format("20060102T150405"),
		os.Getpid())
	if err := d.root.Mkdir(folder, 0o700); err != nil {
		return "", fmt.Errorf("crash directory: %w", err)
	}
	in, err := d.root.OpenRoot(folder)
	if err != nil {
		return "", fmt.Errorf("crash directory: %w", err)
	}
	defer in.Close()
	err = errors.Join(
		write(in, "report.txt", func(f *os.File) error { return r.WriteLong(f) }),
		write(in, "report.json", func(f *os.File) error {
			e := json.NewEncoder(f)
			e.SetIndent("", "  ")
			return e.Encode(r)
		}),
		write(in, "core", func(f *os.File) error {
			segments, err := Segments()
			if err != nil {
				return err
			}
			return WriteCore(f, r, segments)
		}))
	return filepath.Join(d.path, folder), err
}

func write(in *os.Root, name string, f func(*os.File) error) error {
	file, err := in.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f(file), file.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// safe makes a driver's name a file's.
func safe(name string) string {
	s := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' {
			return c
		}
		return '_'
	}, name)
	s = strings.TrimLeft(s, ".")
	const longest = 64
	if s == "" {
		s = "driver"
	}
	return s[:min(len(s), longest)]
}
