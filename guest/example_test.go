package guest_test

import (
	"errors"
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func Example() {
	space, err := guest.Default()
	if err != nil {
		fmt.Println(err)
		return
	}
	page, err := space.AllocSystem(guest.PageSize, guest.ProtRW, "a page of pool")
	if err != nil {
		fmt.Println(err)
		return
	}
	list := guest.Ptr[nt.ListEntry](page.Base())
	_ = list.Store(nt.ListEntry{Flink: list.Addr(), Blink: list.Addr()})
	entry, err := list.Load()
	fmt.Println(entry.Flink == page.Base(), err)

	_ = page.Free()
	_, err = list.Load()
	fmt.Println(errors.Is(err, nt.STATUS_ACCESS_VIOLATION))
	// Output:
	// true <nil>
	// true
}
