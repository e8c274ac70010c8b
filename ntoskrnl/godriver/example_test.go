package godriver_test

import (
	"fmt"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/godriver"
)

// A driver whose device counts the bytes that are written to it, and tells how many there were.
func ExampleDriver() {
	var total int
	counter := &godriver.Driver{Service: "counter",
		Entry: func(c *godriver.Call) nt.Status {
			_, status := c.CreateDevice(godriver.DeviceOptions{Name: `\Device\Counter`,
				Flags: nt.DO_BUFFERED_IO})
			if !status.Success() {
				return status
			}
			return c.CreateLink(`\DosDevices\Counter`, `\Device\Counter`)
		},
		Unload: func(c *godriver.Call) {
			c.DeleteLink(`\DosDevices\Counter`)
			for _, d := range c.Devices() {
				c.DeleteDevice(d)
			}
		},
	}
	counter.Dispatch[nt.IRP_MJ_WRITE] = func(r *godriver.Request) nt.Status {
		total += r.InputLength()
		return r.Complete(nt.STATUS_SUCCESS, uint64(r.InputLength()))
	}
	counter.Dispatch[nt.IRP_MJ_READ] = func(r *godriver.Request) nt.Status {
		return r.Complete(nt.STATUS_SUCCESS, uint64(r.Write(fmt.Appendf(nil, "%d bytes", total))))
	}

	h, err := driverhost.New(driverhost.Options{})
	if err != nil {
		panic(err)
	}
	if _, err := h.LoadGo(counter); err != nil {
		panic(err)
	}
	f, err := h.Open(`\\.\Counter`, driverhost.OpenOptions{})
	if err != nil {
		panic(err)
	}
	text := make([]byte, 20)
	for _, s := range []string{"Margolen", "2006"} {
		if _, err := f.Write([]byte(s)); err != nil {
			panic(err)
		}
	}
	n, err := f.Read(text)
	fmt.Println(string(text[:n]), err)
	_ = f.Close()
	report, err := h.Close()
	fmt.Println(report.Left, err)

	// Output:
	// 12 bytes <nil>
	// map[] <nil>
}
