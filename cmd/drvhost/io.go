package main

// devices, ioctl, read and write: what a client can do.

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"
)

func (a *app) devicesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "devices",
		Short: "List the devices that hosts offer",
		Long: `Devices lists the Win32 names of devices in the runtime directory, with the host process
of each. A name whose host has died is shown as such; the next host that starts removes
it.

With --format json: [{name, pid, alive, socket}].`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.devices() },
	}
}

// deviceRow is a device in --format json.
type deviceRow struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	Alive  bool   `json:"alive"`
	Socket string `json:"socket"`
}

func (a *app) devices() error {
	list, err := wire.List(a.runtimeDir)
	if err != nil {
		return err
	}
	if a.format == formatJSON {
		rows := make([]deviceRow, 0, len(list))
		for _, d := range list {
			rows = append(rows, deviceRow{`\\.\` + d.Name, d.PID, d.Alive, d.Socket})
		}
		return a.json(rows)
	}
	if len(list) == 0 {
		fmt.Fprintf(a.err, "drvhost: no host offers a device in %s; `drvhost load FILE` starts one\n",
			a.runtimeDir)
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, d := range list {
		state := fmt.Sprintf("process %d", d.PID)
		if !d.Alive {
			state = "its host has ended"
		}
		fmt.Fprintf(w, "\\\\.\\%s\t%s\n", d.Name, state)
	}
	return w.Flush()
}

// completeDevice offers the names of devices to the shell.
func (a *app) completeDevice(_ *cobra.Command, args []string, _ string) ([]string,
	cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	dir := a.runtimeDir
	if dir == "" {
		dir = wire.RuntimeDir()
	}
	list, _ := wire.List(dir)
	var names []string
	for _, d := range list {
		names = append(names, d.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// request is a command that opens a device, sends one request and shows the result.
type request struct {
	*app
	output  string
	access  string
	timeout time.Duration
}

func (r *request) command(cmd *cobra.Command) *cobra.Command {
	cmd.ValidArgsFunction = r.completeDevice
	f := cmd.Flags()
	f.StringVar(&r.output, "output", outputAuto, outputHelp)
	f.StringVar(&r.access, "access", "rw", "open the device for this `access`: r, w, rw or none")
	f.DurationVar(&r.timeout, "timeout", 0, "cancel the request after this `time`, such as 500ms")
	return cmd
}

// accessMasks are what --access can be, with what CreateFile always adds.
var accessMasks = map[string]uint32{
	"r": nt.GENERIC_READ, "w": nt.GENERIC_WRITE, "rw": nt.GENERIC_READ | nt.GENERIC_WRITE, "none": 0,
}

func (a *app) ioctlCommand() *cobra.Command {
	r := &request{app: a}
	var in string
	var outSize int
	cmd := &cobra.Command{
		Use:   "ioctl NAME CODE",
		Short: "Send an I/O control code to a device",
		Long: `Ioctl opens a device, sends IRP_MJ_DEVICE_CONTROL, and shows the status, by name, and
the output. CODE is hexadecimal with 0x, or decimal.

` + dataHelp,
		Example: `  drvhost ioctl Echo 0x222004 --in hello --out-size 64
  drvhost ioctl '\\.\Echo' 2236420 --in @request.bin --out-size 4096 --output raw > reply.bin`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			code, err := parseCode(args[1])
			if err != nil {
				return err
			}
			data, err := parseData(in, os.Stdin)
			if err != nil {
				return err
			}
			out, err := buffer("out-size", outSize)
			if err != nil {
				return err
			}
			return r.do(args[0], &client.Request{Major: nt.IRP_MJ_DEVICE_CONTROL, Code: code, In: data,
				Out: out, SendOut: nt.IOCTL(code).Method() != nt.METHOD_BUFFERED})
		},
	}
	cmd.Flags().StringVar(&in, "in", "", "the input, as `DATA`")
	cmd.Flags().IntVar(&outSize, "out-size", 0, "room for output, in `bytes`")
	return r.command(cmd)
}

func (a *app) readCommand() *cobra.Command {
	r := &request{app: a}
	var size int
	var offset int64
	cmd := &cobra.Command{
		Use:   "read NAME",
		Short: "Read from a device",
		Long: "Read opens a device, sends one IRP_MJ_READ, and shows the status, by name, and " +
			"the data.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := buffer("size", size)
			if err != nil {
				return err
			}
			return r.do(args[0], &client.Request{Major: nt.IRP_MJ_READ, Out: out, HasOffset: true,
				Offset: offset})
		},
	}
	cmd.Flags().IntVar(&size, "size", 4096, "read at most this many `bytes`")
	cmd.Flags().Int64Var(&offset, "offset", 0, "at this `byte` offset")
	return r.command(cmd)
}

func (a *app) writeCommand() *cobra.Command {
	r := &request{app: a}
	var offset int64
	cmd := &cobra.Command{
		Use:   "write NAME DATA",
		Short: "Write to a device",
		Long: `Write opens a device, sends one IRP_MJ_WRITE, and shows the status, by name, and how
many bytes the driver took.

` + dataHelp,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := parseData(args[1], os.Stdin)
			if err != nil {
				return err
			}
			return r.do(args[0], &client.Request{Major: nt.IRP_MJ_WRITE, In: data, HasOffset: true,
				Offset: offset})
		},
	}
	cmd.Flags().Int64Var(&offset, "offset", 0, "at this `byte` offset")
	return r.command(cmd)
}

// maxBuffer is the longest buffer that a command may ask for: the host refuses far shorter ones,
// and says so, but this process has to make it.
const maxBuffer = 1 << 30

func buffer(flag string, size int) ([]byte, error) {
	if size < 0 || size > maxBuffer {
		return nil, usage("--%s %d: want 0 to %d bytes", flag, size, maxBuffer)
	}
	return make([]byte, size), nil
}

// resultRow is the result of a request in --format json.
type resultRow struct {
	Device      string `json:"device"`
	Operation   string `json:"operation"`
	Code        string `json:"code,omitempty"`
	Status      string `json:"status"`
	StatusCode  string `json:"status_code"`
	Information uint64 `json:"information"`
	Data        string `json:"data"` // hexadecimal
}

// do opens the device, makes the request and shows how it ended.
func (r *request) do(name string, req *client.Request) error {
	if err := wanted("output", r.output, outputAuto, outputText, outputHex, outputRaw); err != nil {
		return err
	}
	access, ok := accessMasks[r.access]
	if !ok {
		return usage("--access %s: want r, w, rw or none", r.access)
	}
	ctx, stop := interruptible()
	defer stop()
	f, err := client.OpenContext(ctx, name, client.RuntimeDir(r.runtimeDir),
		client.Access(access|nt.SYNCHRONIZE|nt.FILE_READ_ATTRIBUTES))
	if err != nil {
		return err
	}
	defer f.Close()
	if r.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}
	res, err := f.Do(ctx, req)
	if err != nil {
		return err
	}
	return r.show(name, req, res)
}

func (r *request) show(name string, req *client.Request, res client.Result) error {
	status := res.Final()
	data := filled(req, res)
	row := resultRow{Device: name, Operation: operation(req), Status: status.String(),
		StatusCode: fmt.Sprintf("0x%08x", uint32(status)), Information: res.Information,
		Data: hex.EncodeToString(data)}
	if req.Major == nt.IRP_MJ_DEVICE_CONTROL {
		row.Code = fmt.Sprintf("%#x", req.Code)
	}
	var err error
	switch {
	case r.format == formatJSON:
		err = r.json(row)
	case r.output == outputRaw:
		r.sayStatus(r.err, row)
		err = showData(r.out, data, outputRaw)
	default:
		r.sayStatus(r.out, row)
		err = showData(r.out, data, r.output)
	}
	if err == nil && !status.Success() {
		err = silent(exitStatus)
	}
	return err
}

// filled gives what of the output the driver says it has filled. With the direct methods and
// METHOD_NEITHER the whole buffer comes back, as it is shared with the driver.
func filled(req *client.Request, res client.Result) []byte {
	return req.Out[:min(uint64(res.N), res.Information)]
}

func (r *request) sayStatus(w io.Writer, row resultRow) {
	fmt.Fprintf(w, "%s (%s), information %d\n", row.Status, row.StatusCode, row.Information)
}

func operation(req *client.Request) string {
	switch req.Major {
	case nt.IRP_MJ_READ:
		return "read"
	case nt.IRP_MJ_WRITE:
		return "write"
	}
	return "ioctl"
}
