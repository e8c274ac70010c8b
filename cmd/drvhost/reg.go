package main

// reg: the registry from the command line, in the words of Windows' reg.exe.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

const regHelp = `Reg reads and changes the service manager's registry in the words of Windows' reg.exe:

  query KEY [/v [NAME] | /ve] [/s] [/f TEXT [/k] [/d] [/c] [/e]] [/t TYPE[,TYPE]...] [/z]
        [/se SEPARATOR]
  add KEY [/v NAME | /ve] [/t TYPE] [/s SEPARATOR] [/d DATA] [/f]
  delete KEY [/v NAME | /ve | /va] [/f]
  copy KEY1 KEY2 [/s] [/f]
  compare KEY1 KEY2 [/v NAME | /ve] [/oa | /od | /os | /on] [/s]
  export KEY FILE [/y] [/utf8 | /regedit4]
  import FILE
  save KEY FILE [/y]
  restore KEY FILE
  load KEY FILE
  unload KEY

A key begins with HKLM, HKU, HKCR, HKCC or HKCU, with their long names, or is a kernel's
path (\Registry\Machine\…). Switches may begin with /, - or --, in any case; reg OPERATION /?
says what each does. A shell takes backslashes away that are not in quotes.

Import reads .reg files of both versions, in UTF-16 or UTF-8, whole: what is wrong with one is
said with its line, before anything is done. Export writes UTF-16 as reg.exe does, UTF-8, or
REGEDIT4. The FILE - is standard input or output, the latter in UTF-8.

Save, restore, load and unload have Windows' binary hives, SYSTEM and NTUSER.DAT and their like;
logs beside one (.LOG1, .LOG2) are made use of if it was not written to its end. What is wrong
with one is said with its place in the file. Unlike Windows, load makes the hive's keys the
registry's own, as durable as all others: the file is written when they are unloaded.

While the service manager runs (drvhost services) it is asked, and drivers see the change at
once; whoever may not change services gets "Access is denied." Otherwise the registry's file
in the state directory is used itself. Either way all of an operation is seen at once, and is
there after a crash, or none of it.
Volatile keys such as HKLM\Hardware are gone when the machine starts again.

The exit status is 0 or 1, as reg.exe's, and 2 where compare finds a difference; messages of
errors begin with "ERROR: ". With --format json query prints a line for each key: {"key",
"values": [{"name", "type", "data"}], "subkeys"}, where data is text, a list of texts, a number,
or bytes in hexadecimal; compare prints one for each result: {"key", "in", "same", "first",
"second"}.`

func (a *app) regCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reg OPERATION KEY|FILE [SWITCH]...",
		Short: "Query and change the service manager's registry, as reg.exe does",
		Long:  regHelp,
		Example: `  drvhost reg query 'HKLM\System\CurrentControlSet\Services' /s
  drvhost reg load 'HKLM\Offline' /mnt/Windows/System32/config/SYSTEM
  drvhost reg add 'HKLM\System\CurrentControlSet\Services\Foo\Parameters' /v Limit /t REG_DWORD /d 3
  drvhost reg import settings.reg`,
		DisableFlagsInUseLine: true,
		DisableFlagParsing:    true, // a switch may begin with /, and have more than one letter behind -
		RunE:                  func(cmd *cobra.Command, args []string) error { return a.reg(cmd, args) },
	}
}

// kind says what follows a switch.
type kind int

const (
	alone    kind = iota
	word          // a value
	optional      // a value, unless another switch follows
)

// regOperation is one of reg's operations.
type regOperation struct {
	name     string
	run      func(*regRun) error
	words    int  // keys and files that it wants
	file     bool // the last of them is a file, which may begin with /
	switches map[string]kind
	usage    string
}

// regOperations are all of them. What follows /reg:64 is nothing: there is one registry.
func regOperations() []regOperation {
	return []regOperation{
		{"query", (*regRun).query, 1, false, map[string]kind{"v": optional, "ve": alone, "s": alone,
			"f": word, "k": alone, "d": alone, "c": alone, "e": alone, "t": word, "z": alone,
			"se": word, "reg:64": alone}, queryUsage},
		{"add", (*regRun).add, 1, false, map[string]kind{"v": word, "ve": alone, "t": word, "s": word,
			"d": word, "f": alone, "reg:64": alone}, addUsage},
		{"delete", (*regRun).delete, 1, false, map[string]kind{"v": word, "ve": alone, "va": alone,
			"f": alone, "reg:64": alone}, deleteUsage},
		{"copy", (*regRun).copy, 2, false, map[string]kind{"s": alone, "f": alone, "reg:64": alone},
			copyUsage},
		{"compare", (*regRun).compare, 2, false, map[string]kind{"v": word, "ve": alone, "oa": alone,
			"od": alone, "os": alone, "on": alone, "s": alone, "reg:64": alone}, compareUsage},
		{"export", (*regRun).export, 2, true, map[string]kind{"y": alone, "utf8": alone,
			"regedit4": alone, "reg:64": alone}, exportUsage},
		{"import", (*regRun).importFile, 1, true, map[string]kind{"reg:64": alone}, importUsage},
		{"save", (*regRun).save, 2, true, map[string]kind{"y": alone, "reg:64": alone}, saveUsage},
		{"restore", (*regRun).restore, 2, true, map[string]kind{"reg:64": alone}, restoreUsage},
		{"load", (*regRun).load, 2, true, map[string]kind{"reg:64": alone}, loadUsage},
		{"unload", (*regRun).unload, 1, false, map[string]kind{"reg:64": alone}, unloadUsage},
	}
}

// regOperationNamed gives an operation by its name.
func regOperationNamed(name string) (regOperation, bool) {
	all := regOperations()
	i := slices.IndexFunc(all, func(op regOperation) bool { return op.name == name })
	if i < 0 {
		return regOperation{}, false
	}
	return all[i], true
}

// regOperationNames are their names, separated by commas.
func regOperationNames() string {
	var names []string
	for _, op := range regOperations() {
		names = append(names, op.name)
	}
	return strings.Join(names, ", ")
}

// regRun is one run of reg.
type regRun struct {
	*app
	name     string // of the operation
	words    []string
	switches map[string]string // those that are given, with their values
	bare     bool              // /v has no value

	reg     *cm.Registry             // in with
	answers *bufio.Reader            // to questions
	batch   func(func() error) error // has changes done as one, where that can be
}

// regError is what reg says behind "ERROR: ".
type regError string

func (e regError) Error() string { return string(e) }

const (
	errNoKey       = regError("The system was unable to find the specified registry key or value.")
	errDenied      = regError("Access is denied.")
	errInvalidName = regError("Invalid key name.")
)

// syntax is an error that the operation's usage helps with.
type syntax string

func (e syntax) Error() string {
	if e == "" {
		return "Invalid syntax."
	}
	return "Invalid syntax. " + string(e)
}

func (a *app) reg(cmd *cobra.Command, args []string) error {
	r := &regRun{app: a, switches: map[string]string{}}
	op, err := r.parse(args)
	if errors.Is(err, errHelp) {
		if r.name != "" {
			_, err = fmt.Fprint(a.out, op.usage)
			return err
		}
		return cmd.Help()
	}
	if err == nil {
		err = op.run(r)
	}
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	r.say(err)
	return silent(exitFailure)
}

// say says what has failed, as reg.exe does.
func (r *regRun) say(err error) {
	err = regText(err)
	fmt.Fprintf(r.err, "ERROR: %s\n", driverhost.Printable(err.Error()))
	var s syntax
	if errors.As(err, &s) || errors.Is(err, errInvalidName) {
		fmt.Fprintf(r.err, "Type \"%s\" for usage.\n",
			strings.TrimSpace("REG "+strings.ToUpper(r.name))+" /?")
	}
}

// regText gives reg.exe's words for an error that it has some for.
func regText(err error) error {
	var status nt.Status
	var known regError
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (%w)", errDenied, err)
	case errors.Is(err, service.ErrInUse):
		return fmt.Errorf("%w, and does not share it: it is starting or ending, or is another "+
			"drvhost reg", err)
	case !errors.As(err, &status):
		return err
	}
	switch status {
	case nt.STATUS_OBJECT_NAME_NOT_FOUND, nt.STATUS_KEY_DELETED:
		return errNoKey
	case nt.STATUS_ACCESS_DENIED, nt.STATUS_CANNOT_DELETE:
		return errDenied
	case nt.STATUS_OBJECT_NAME_INVALID, nt.STATUS_OBJECT_PATH_SYNTAX_BAD, nt.STATUS_NAME_TOO_LONG:
		return errInvalidName
	case nt.STATUS_REGISTRY_IO_FAILED:
		return fmt.Errorf("The registry's file cannot be written, or its service manager has gone. (%w)",
			err)
	}
	return err
}

var errHelp = errors.New("help is asked for")

// parse takes a command line apart.
func (r *regRun) parse(args []string) (op regOperation, err error) {
	help := false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		value := func() (string, error) {
			if i+1 >= len(args) {
				return "", syntax(fmt.Sprintf("%s wants a value.", arg))
			}
			i++
			return args[i], nil
		}
		name, isSwitch := switchName(arg)
		flag, set, hasSet := strings.Cut(arg, "=")
		k, known := op.switches[name]
		switch {
		case flag == "--format" || flag == "--runtime-dir":
			if !hasSet {
				if set, err = value(); err != nil {
					return op, err
				}
			}
			if flag == "--format" {
				if r.format = set; set != formatText && set != formatJSON {
					return op, usage("--format %s: want text or json", set)
				}
			}
		case isSwitch && (name == "?" || arg == "-h" || arg == "--help"):
			help = true
		case isSwitch && known:
			if _, twice := r.switches[name]; twice {
				return op, syntax(fmt.Sprintf("%s is given twice.", arg))
			}
			v := ""
			if k == optional {
				_, other := op.switches[nextSwitch(args, i)]
				if r.bare = other || i+1 >= len(args); r.bare {
					k = alone
				}
			}
			if k != alone {
				if v, err = value(); err != nil {
					return op, err
				}
			}
			r.switches[name] = v
		case isSwitch && (arg[0] == '-' || !op.file):
			return op, syntax(fmt.Sprintf("%s is not known here.", arg))
		case r.name == "":
			var ok bool
			r.name = strings.ToLower(arg)
			if op, ok = regOperationNamed(r.name); !ok {
				r.name = ""
				return op, syntax(fmt.Sprintf("%s is none of %s.", arg, regOperationNames()))
			}
		default:
			r.words = append(r.words, arg)
		}
	}
	switch {
	case help, len(args) == 0:
		return op, errHelp
	case len(r.words) != op.words || r.name == "":
		return op, syntax("")
	}
	return op, nil
}

// switchName gives the name of a switch as it is compared. What is only a dash is none.
func switchName(arg string) (string, bool) {
	for _, prefix := range []string{"--", "-", "/"} {
		if rest, ok := strings.CutPrefix(arg, prefix); ok && rest != "" {
			return strings.ToLower(rest), true
		}
	}
	return "", false
}

func nextSwitch(args []string, i int) string {
	if i+1 < len(args) {
		name, _ := switchName(args[i+1])
		return name
	}
	return ""
}

func (r *regRun) has(name string) bool {
	_, ok := r.switches[name]
	return ok
}

// regRoots are the long names of what a key begins with.
var regRoots = map[string]string{"HKLM": "HKEY_LOCAL_MACHINE", "HKU": "HKEY_USERS",
	"HKCR": "HKEY_CLASSES_ROOT", "HKCC": "HKEY_CURRENT_CONFIG", "HKCU": "HKEY_CURRENT_USER"}

// keyName is a key as it was named.
type keyName struct {
	path  string // the kernel's
	shown string // with the long name of its root, and otherwise as it was spelt
	root  bool   // nothing is behind the root
}

func parseKey(arg string) (keyName, error) {
	arg = strings.TrimSuffix(arg, `\`)
	path, err := cm.FullPath(arg)
	if err != nil || strings.HasPrefix(arg, `\\`) {
		return keyName{}, errInvalidName
	}
	root, rest, below := strings.Cut(arg, `\`)
	if root == "" {
		return keyName{path, cm.UserPath(path), strings.Count(path, `\`) < 3}, nil
	}
	root = strings.ToUpper(root)
	if long, ok := regRoots[root]; ok {
		root = long
	}
	if below {
		root += `\` + rest
	}
	return keyName{path, root, !below}, nil
}

// registryWait is how long reg waits for a registry that another process has open and does not
// share: a manager that starts or ends, or another reg.
const registryWait = 2 * time.Second

// with calls f while the registry is there: the service manager's, or else its file. To read what
// nobody has made makes nothing.
func (r *regRun) with(write bool, f func() error) error {
	socket := filepath.Join(service.StateDir(), service.RegistrySocket)
	file := filepath.Join(service.StateDir(), service.RegistryFile)
	fresh := func() *cm.Registry { return ntoskrnl.NewRegistry(0) }
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		late := time.Since(start) > registryWait
		ctx, stop := context.WithTimeout(context.Background(), registryPatience)
		mirror, err := registry.Dial(ctx, socket)
		stop()
		switch {
		case err == nil:
			r.reg, r.batch = mirror.Registry(), mirror.Batch
			return errors.Join(f(), mirror.Close())
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		case errors.Is(err, fs.ErrPermission), late:
			return err
		default:
			continue // it has ended meanwhile
		}
		if _, err := os.Stat(file); !write && errors.Is(err, fs.ErrNotExist) {
			r.reg = fresh()
			return f()
		}
		store, err := service.Open(file, fresh)
		if errors.Is(err, service.ErrInUse) && !late {
			continue
		}
		if err != nil {
			return err
		}
		r.reg, r.batch = store.Registry, store.Batch
		return errors.Join(f(), store.Close())
	}
}

// key opens a key.
func (r *regRun) key(name keyName, itself bool) (*cm.Key, error) {
	k, status := r.reg.Open(nil, name.path, itself)
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	return k, nil
}

// done says so.
func (r *regRun) done() error {
	_, err := fmt.Fprintln(r.out, "The operation completed successfully.")
	return err
}

// ask asks on the terminal, and gives the answer in lower case.
func (r *regRun) ask(question, answers string) string {
	fmt.Fprint(r.out, driverhost.Printable(question), " (", answers, ")? ")
	if r.answers == nil {
		r.answers = bufio.NewReader(os.Stdin)
	}
	answer, err := r.answers.ReadString('\n')
	if err != nil && answer == "" {
		fmt.Fprintln(r.out)
	}
	return strings.ToLower(strings.TrimSpace(answer))
}

// confirm asks whether to go on. The answer may be an error that ends the command.
func (r *regRun) confirm(question string, args ...any) error {
	switch r.ask(fmt.Sprintf(question, args...), "Yes/No") {
	case "y", "yes":
		return nil
	}
	return r.canceled()
}

func (r *regRun) canceled() error {
	fmt.Fprintln(r.out, "The operation was canceled by the user.")
	return silent(exitFailure)
}
