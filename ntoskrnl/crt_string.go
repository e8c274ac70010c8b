package ntoskrnl

import "github.com/drvhost/drvhost/ntoskrnl/rtl"

// Strings of bytes that end in a zero.
//
// The C runtime of the kernel is code that is never paged out: it runs at any IRQL on memory that
// is not paged out either.
var crtStringExports = []Export{
	// size_t strlen(const char *str). "strlen, wcslen, _mbslen".
	{Name: "strlen", Fn: try1(rtl.Strlen), Params: "str:str", MaxIRQL: anyIRQL, Support: Full},
	// size_t strnlen(const char *str, size_t numberOfElements): numberOfElements if there is no zero
	// among so many. "strnlen, strnlen_s".
	{Name: "strnlen", Fn: try2(rtl.Strnlen), Params: "str numberOfElements:d", MaxIRQL: anyIRQL,
		Support: Full},
	// int strcmp(const char *string1, const char *string2): -1, 0 or 1. "strcmp, wcscmp, _mbscmp".
	{Name: "strcmp", Fn: try2(rtl.Strcmp), Params: "string1:str string2:str", MaxIRQL: anyIRQL,
		Support: Full},
	// int strncmp(const char *string1, const char *string2, size_t count). "strncmp, wcsncmp,
	// _mbsncmp".
	{Name: "strncmp", Fn: try3(rtl.Strncmp), Params: "string1:str string2:str count:d",
		MaxIRQL: anyIRQL, Support: Full},
	// int _stricmp(const char *string1, const char *string2): without regard to the case of A to Z.
	// "_stricmp, _wcsicmp, _mbsicmp".
	{Name: "_stricmp", Fn: try2(rtl.Stricmp), Params: "string1:str string2:str", MaxIRQL: anyIRQL,
		Support: Full},
	// int _strnicmp(const char *string1, const char *string2, size_t count). "_strnicmp, _wcsnicmp,
	// _mbsnicmp".
	{Name: "_strnicmp", Fn: try3(rtl.Strnicmp), Params: "string1:str string2:str count:d",
		MaxIRQL: anyIRQL, Support: Full},
	// char *strcpy(char *strDestination, const char *strSource). "strcpy, wcscpy, _mbscpy".
	{Name: "strcpy", Fn: return2(rtl.Strcpy), Params: "strDestination strSource:str",
		MaxIRQL: anyIRQL, Support: Full},
	// char *strncpy(char *strDest, const char *strSource, size_t count): count bytes, filled up with
	// zeros; without a zero if the source is as long. "strncpy, wcsncpy, _mbsncpy".
	{Name: "strncpy", Fn: return3(rtl.Strncpy), Params: "strDest strSource count:d",
		MaxIRQL: anyIRQL, Support: Full},
	// char *strcat(char *strDestination, const char *strSource). "strcat, wcscat, _mbscat".
	{Name: "strcat", Fn: return2(rtl.Strcat), Params: "strDestination:str strSource:str",
		MaxIRQL: anyIRQL, Support: Full},
	// char *strncat(char *strDest, const char *strSource, size_t count): always with a zero.
	// "strncat, wcsncat, _mbsncat".
	{Name: "strncat", Fn: return3(rtl.Strncat), Params: "strDest:str strSource count:d",
		MaxIRQL: anyIRQL, Support: Full},
	// char *strchr(const char *str, int c): NULL if there is none. "strchr, wcschr, _mbschr".
	{Name: "strchr", Fn: try2(rtl.Strchr), Params: "str:str c", MaxIRQL: anyIRQL, Support: Full},
	// char *strrchr(const char *str, int c). "strrchr, wcsrchr, _mbsrchr".
	{Name: "strrchr", Fn: try2(rtl.Strrchr), Params: "str:str c", MaxIRQL: anyIRQL, Support: Full},
	// char *strstr(const char *str, const char *strSearch): str for an empty search. "strstr, wcsstr,
	// _mbsstr".
	{Name: "strstr", Fn: try2(rtl.Strstr), Params: "str:str strSearch:str", MaxIRQL: anyIRQL,
		Support: Full},
	// size_t strspn(const char *str, const char *strCharSet). "strspn, wcsspn, _mbsspn".
	{Name: "strspn", Fn: try2(rtl.Strspn), Params: "str:str strCharSet:str", MaxIRQL: anyIRQL,
		Support: Full},
	// char *_strupr(char *str): a to z, in place. "_strupr, _wcsupr, _mbsupr".
	{Name: "_strupr", Fn: return1(rtl.Strupr), Params: "str:str", MaxIRQL: anyIRQL, Support: Full},
	// char *_strlwr(char *str). "_strlwr, _wcslwr, _mbslwr".
	{Name: "_strlwr", Fn: return1(rtl.Strlwr), Params: "str:str", MaxIRQL: anyIRQL, Support: Full},
	// char *_strrev(char *str): the bytes in the opposite order, in place. "_strrev, _wcsrev,
	// _mbsrev".
	{Name: "_strrev", Fn: return1(rtl.Strrev), Params: "str:str", MaxIRQL: anyIRQL, Support: Full},
	// char *_strset(char *str, int c). "_strset, _wcsset, _mbsset".
	{Name: "_strset", Fn: return2(rtl.Strset), Params: "str:str c", MaxIRQL: anyIRQL,
		Support: Full},
	// char *_strnset(char *str, int c, size_t count). "_strnset, _wcsnset, _mbsnset".
	{Name: "_strnset", Fn: return3(rtl.Strnset), Params: "str:str c count:d", MaxIRQL: anyIRQL,
		Support: Full},
}
