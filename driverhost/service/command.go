package service

// The command of a failure action: how its line is taken apart, who has approved it, and how it is
// run.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// SplitCommand takes a command line apart as a C program on Windows does ("Parsing C++ command-line
// arguments"). Its first word has to be the absolute path of a program; else the error is of
// [InvalidParameter].
func SplitCommand(line string) ([]string, error) {
	words := splitCommand(line)
	switch {
	case len(words) == 0:
		return nil, fail(InvalidParameter, "an empty command")
	case !filepath.IsAbs(words[0]):
		return nil, fail(InvalidParameter, "command %q: want the absolute path of a program", words[0])
	}
	return words, nil
}

const blanks = " \t"

func splitCommand(line string) (words []string) {
	line = strings.TrimLeft(line, blanks)
	for first := true; line != ""; first = false {
		var word string
		word, line = nextWord(line, first)
		words = append(words, word)
		line = strings.TrimLeft(line, blanks)
	}
	return words
}

// nextWord takes the first word of a line. In the program's name a backslash always means itself.
func nextWord(s string, program bool) (word, rest string) {
	var w strings.Builder
	quoted := false
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\\' && !program:
			n := len(s[i:]) - len(strings.TrimLeft(s[i:], `\`))
			i += n
			if i == len(s) || s[i] != '"' {
				w.WriteString(s[i-n : i])
				continue
			}
			w.WriteString(s[i-n : i-n+n/2])
			if n%2 == 1 {
				w.WriteByte('"')
				i++
			}
		case c == '"' && quoted && !program && strings.HasPrefix(s[i+1:], `"`):
			w.WriteByte('"')
			i += 2
		case c == '"':
			quoted = !quoted
			i++
		case !quoted && strings.IndexByte(blanks, c) >= 0:
			return w.String(), s[i:]
		default:
			w.WriteByte(c)
			i++
		}
	}
	return w.String(), ""
}

// What the manager's owner has approved, beside the registry: hosts and users who may change services
// can write to that, and what it says is run with the manager's rights.
var bucketCommands = []byte("commands")

// approve notes the command that may be run for a service, or none; within a Batch as a part of it.
func (s *Store) approve(service, command string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	do := func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketCommands)
		if err != nil {
			return err
		}
		if command == "" {
			return b.Delete([]byte(cm.Fold(service)))
		}
		return b.Put([]byte(cm.Fold(service)), []byte(command))
	}
	var err error
	if s.tx != nil {
		err = do(s.tx)
	} else {
		err = s.db.Update(do)
	}
	if err != nil {
		s.broken = err
	}
	return err
}

// approved says whether a command was approved for a service.
func (s *Store) approved(service, command string) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return false
	}
	look := func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketCommands)
		ok = b != nil && command != "" && string(b.Get([]byte(cm.Fold(service)))) == command
		return nil
	}
	if s.tx != nil {
		_ = look(s.tx)
	} else if s.db.View(look) != nil {
		return false
	}
	return ok
}

// failCount is what Windows replaces by the number of failures in a command, as in /fail=%1%.
const failCount = "%1%"

// managersOwn are variables of the environment that are for the manager alone.
var managersOwn = []string{"NOTIFY_SOCKET=", "WATCHDOG_PID=", "WATCHDOG_USEC=", "LISTEN_PID=",
	"LISTEN_FDS=", "LISTEN_FDNAMES="}

// startCommand starts a failure's command, without a shell and in a session of its own, which is
// killed when the limit is over. What it writes is appended to the unit's log.
func (u *unit) startCommand(line string, failures int, limit time.Duration) (func() error, error) {
	words, err := SplitCommand(strings.ReplaceAll(line, failCount, strconv.Itoa(failures)))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return nil, err
	}
	log, err := u.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	for _, v := range os.Environ() {
		own := false
		for _, name := range managersOwn {
			own = own || strings.HasPrefix(v, name)
		}
		if !own {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	fmt.Fprintf(log, "drvhost: failure %d: %s\n", failures, strings.Join(words, " "))
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	return func() error {
		defer cancel()
		err := cmd.Wait()
		if ctx.Err() != nil {
			return errors.Join(fmt.Errorf("it has taken more than %v and is killed", limit), err)
		}
		return err
	}, nil
}

// openLog opens the unit's log, to append to it.
func (u *unit) openLog() (*os.File, error) {
	return os.OpenFile(filepath.Join(u.dir, unitLog), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}
