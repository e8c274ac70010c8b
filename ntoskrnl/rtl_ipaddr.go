package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Internet addresses in strings. Ports are in network byte order.
var rtlIPAddrExports = []Export{
	// PSTR RtlIpv4AddressToStringA(const struct in_addr *Addr, PSTR S): the end of the text, where
	// its zero is. "RtlIpv4AddressToStringA function (ip2string.h)".
	{Name: "RtlIpv4AddressToStringA", Fn: try2(rtl.Ipv4AddressToStringA), Params: "Addr S",
		MaxIRQL: pageable, Support: Full},
	// PWSTR RtlIpv4AddressToStringW(const struct in_addr *Addr, PWSTR S): the end of the text,
	// where its zero is. "RtlIpv4AddressToStringW function (ip2string.h)".
	{Name: "RtlIpv4AddressToStringW", Fn: try2(rtl.Ipv4AddressToStringW), Params: "Addr S",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIpv4AddressToStringExA(const struct in_addr *Address, USHORT Port, PSTR
	// AddressString, PULONG AddressStringLength): STATUS_INVALID_PARAMETER, also if it does not
	// fit; the length, in characters with the zero, is stored. "RtlIpv4AddressToStringExA function
	// (ip2string.h)".
	{Name: "RtlIpv4AddressToStringExA", Fn: status4(rtl.Ipv4AddressToStringExA),
		Params: "Address Port AddressString AddressStringLength", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIpv4AddressToStringExW(const struct in_addr *Address, USHORT Port, PWSTR
	// AddressString, PULONG AddressStringLength): STATUS_INVALID_PARAMETER, also if it does not
	// fit; the length, in characters with the zero, is stored. "RtlIpv4AddressToStringExW function
	// (ip2string.h)".
	{Name: "RtlIpv4AddressToStringExW", Fn: status4(rtl.Ipv4AddressToStringExW),
		Params: "Address Port AddressString AddressStringLength", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIpv4StringToAddressA(PCSTR S, BOOLEAN Strict, PCSTR *Terminator, struct in_addr
	// *Addr): STATUS_INVALID_PARAMETER. "RtlIpv4StringToAddressA function (ip2string.h)".
	{Name: "RtlIpv4StringToAddressA", Fn: strict(rtl.Ipv4StringToAddressA),
		Params: "S:str Strict:b Terminator Addr", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIpv4StringToAddressExA(PCSTR AddressString, BOOLEAN Strict, struct in_addr
	// *Address, PUSHORT Port). "RtlIpv4StringToAddressExA function (ip2string.h)".
	{Name: "RtlIpv4StringToAddressExA", Fn: strict(rtl.Ipv4StringToAddressExA),
		Params: "AddressString:str Strict:b Address Port", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIpv4StringToAddressW(PCWSTR S, BOOLEAN Strict, PCWSTR *Terminator, struct in_addr
	// *Addr): STATUS_INVALID_PARAMETER. "RtlIpv4StringToAddressW function (ip2string.h)".
	{Name: "RtlIpv4StringToAddressW", Fn: strict(rtl.Ipv4StringToAddressW),
		Params: "S:wstr Strict:b Terminator Addr", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIpv4StringToAddressExW(PCWSTR AddressString, BOOLEAN Strict, struct in_addr
	// *Address, PUSHORT Port). "RtlIpv4StringToAddressExW function (ip2string.h)".
	{Name: "RtlIpv4StringToAddressExW", Fn: strict(rtl.Ipv4StringToAddressExW),
		Params: "AddressString:wstr Strict:b Address Port", MaxIRQL: pageable, Support: Full},
	// PSTR RtlIpv6AddressToStringA(const struct in6_addr *Addr, PSTR S): the end of the text, where
	// its zero is. "RtlIpv6AddressToStringA function (ip2string.h)".
	{Name: "RtlIpv6AddressToStringA", Fn: try2(rtl.Ipv6AddressToStringA), Params: "Addr S",
		MaxIRQL: pageable, Support: Full},
	// PWSTR RtlIpv6AddressToStringW(const struct in6_addr *Addr, PWSTR S): the end of the text,
	// where its zero is. "RtlIpv6AddressToStringW function (ip2string.h)".
	{Name: "RtlIpv6AddressToStringW", Fn: try2(rtl.Ipv6AddressToStringW), Params: "Addr S",
		MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIpv6AddressToStringExA(const struct in6_addr *Address, ULONG ScopeId, USHORT
	// Port, PSTR AddressString, PULONG AddressStringLength). "RtlIpv6AddressToStringExA function
	// (ip2string.h)".
	{Name: "RtlIpv6AddressToStringExA", Fn: status5(rtl.Ipv6AddressToStringExA),
		Params: "Address ScopeId:d Port AddressString AddressStringLength", MaxIRQL: pageable,
		Support: Full},
	// NTSTATUS RtlIpv6AddressToStringExW(const struct in6_addr *Address, ULONG ScopeId, USHORT
	// Port, PWSTR AddressString, PULONG AddressStringLength). "RtlIpv6AddressToStringExW function
	// (ip2string.h)".
	{Name: "RtlIpv6AddressToStringExW", Fn: status5(rtl.Ipv6AddressToStringExW),
		Params: "Address ScopeId:d Port AddressString AddressStringLength", MaxIRQL: pageable,
		Support: Full},
	// NTSTATUS RtlIpv6StringToAddressA(PCSTR S, PCSTR *Terminator, struct in6_addr *Addr):
	// STATUS_INVALID_PARAMETER. "RtlIpv6StringToAddressA function (ip2string.h)".
	{Name: "RtlIpv6StringToAddressA", Fn: status3(rtl.Ipv6StringToAddressA),
		Params: "S:str Terminator Addr", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIpv6StringToAddressExA(PCSTR AddressString, struct in6_addr *Address, PULONG
	// ScopeId, PUSHORT Port). "RtlIpv6StringToAddressExA function (ip2string.h)".
	{Name: "RtlIpv6StringToAddressExA", Fn: status4(rtl.Ipv6StringToAddressExA),
		Params: "AddressString:str Address ScopeId Port", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIpv6StringToAddressW(PCWSTR S, PCWSTR *Terminator, struct in6_addr *Addr):
	// STATUS_INVALID_PARAMETER. "RtlIpv6StringToAddressW function (ip2string.h)".
	{Name: "RtlIpv6StringToAddressW", Fn: status3(rtl.Ipv6StringToAddressW),
		Params: "S:wstr Terminator Addr", MaxIRQL: pageable, Support: Full},
	// NTSTATUS RtlIpv6StringToAddressExW(PCWSTR AddressString, struct in6_addr *Address, PULONG
	// ScopeId, PUSHORT Port). "RtlIpv6StringToAddressExW function (ip2string.h)".
	{Name: "RtlIpv6StringToAddressExW", Fn: status4(rtl.Ipv6StringToAddressExW),
		Params: "AddressString:wstr Address ScopeId Port", MaxIRQL: pageable, Support: Full},
}

// strict makes an export whose second argument demands four decimal numbers of an IPv4 address.
func strict(f func(s guest.Addr, strict bool, a, b guest.Addr) error) Func {
	return fn4(func(c *Call, s guest.Addr, strict nt.Boolean, a, b guest.Addr) nt.Status {
		return c.status(f(s, strict != 0, a, b))
	})
}
