package ntoskrnl

import "github.com/drvhost/drvhost/ntoskrnl/rtl"

// Strings of WCHARs that end in a zero. Counts are in WCHARs, and case is that of the system's
// table of upper-case letters, as it is for UNICODE_STRINGs.
var crtWideExports = []Export{
	// size_t wcslen(const wchar_t *str). "strlen, wcslen, _mbslen".
	{Name: "wcslen", Fn: try1(rtl.Wcslen), Params: "str:wstr", MaxIRQL: anyIRQL, Support: Full},
	// size_t wcsnlen(const wchar_t *str, size_t numberOfElements). "strnlen, strnlen_s".
	{Name: "wcsnlen", Fn: try2(rtl.Wcsnlen), Params: "str numberOfElements:d", MaxIRQL: anyIRQL,
		Support: Full},
	// int wcscmp(const wchar_t *string1, const wchar_t *string2): -1, 0 or 1. "strcmp, wcscmp,
	// _mbscmp".
	{Name: "wcscmp", Fn: try2(rtl.Wcscmp), Params: "string1:wstr string2:wstr", MaxIRQL: anyIRQL,
		Support: Full},
	// int wcsncmp(const wchar_t *string1, const wchar_t *string2, size_t count). "strncmp, wcsncmp,
	// _mbsncmp".
	{Name: "wcsncmp", Fn: try3(rtl.Wcsncmp), Params: "string1:wstr string2:wstr count:d",
		MaxIRQL: anyIRQL, Support: Full},
	// int _wcsicmp(const wchar_t *string1, const wchar_t *string2). "_stricmp, _wcsicmp, _mbsicmp".
	{Name: "_wcsicmp", Fn: try2(rtl.Wcsicmp), Params: "string1:wstr string2:wstr", MaxIRQL: anyIRQL,
		Support: Full},
	// int _wcsnicmp(const wchar_t *string1, const wchar_t *string2, size_t count). "_strnicmp,
	// _wcsnicmp, _mbsnicmp".
	{Name: "_wcsnicmp", Fn: try3(rtl.Wcsnicmp), Params: "string1:wstr string2:wstr count:d",
		MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *wcscpy(wchar_t *strDestination, const wchar_t *strSource). "strcpy, wcscpy, _mbscpy".
	{Name: "wcscpy", Fn: return2(rtl.Wcscpy), Params: "strDestination strSource:wstr",
		MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *wcsncpy(wchar_t *strDest, const wchar_t *strSource, size_t count): see strncpy.
	// "strncpy, wcsncpy, _mbsncpy".
	{Name: "wcsncpy", Fn: return3(rtl.Wcsncpy), Params: "strDest strSource count:d",
		MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *wcscat(wchar_t *strDestination, const wchar_t *strSource). "strcat, wcscat, _mbscat".
	{Name: "wcscat", Fn: return2(rtl.Wcscat), Params: "strDestination:wstr strSource:wstr",
		MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *wcsncat(wchar_t *strDest, const wchar_t *strSource, size_t count). "strncat, wcsncat,
	// _mbsncat".
	{Name: "wcsncat", Fn: return3(rtl.Wcsncat), Params: "strDest:wstr strSource count:d",
		MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *wcschr(const wchar_t *str, wchar_t c). "strchr, wcschr, _mbschr".
	{Name: "wcschr", Fn: try2(rtl.Wcschr), Params: "str:wstr c", MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *wcsrchr(const wchar_t *str, wchar_t c). "strrchr, wcsrchr, _mbsrchr".
	{Name: "wcsrchr", Fn: try2(rtl.Wcsrchr), Params: "str:wstr c", MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *wcsstr(const wchar_t *str, const wchar_t *strSearch). "strstr, wcsstr, _mbsstr".
	{Name: "wcsstr", Fn: try2(rtl.Wcsstr), Params: "str:wstr strSearch:wstr", MaxIRQL: anyIRQL,
		Support: Full},
	// size_t wcsspn(const wchar_t *str, const wchar_t *strCharSet). "strspn, wcsspn, _mbsspn".
	{Name: "wcsspn", Fn: try2(rtl.Wcsspn), Params: "str:wstr strCharSet:wstr", MaxIRQL: anyIRQL,
		Support: Full},
	// size_t wcscspn(const wchar_t *str, const wchar_t *strCharSet). "strcspn, wcscspn, _mbscspn".
	{Name: "wcscspn", Fn: try2(rtl.Wcscspn), Params: "str:wstr strCharSet:wstr", MaxIRQL: anyIRQL,
		Support: Full},
	// wchar_t *_wcsupr(wchar_t *str). "_strupr, _wcsupr, _mbsupr".
	{Name: "_wcsupr", Fn: return1(rtl.Wcsupr), Params: "str:wstr", MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *_wcslwr(wchar_t *str). "_strlwr, _wcslwr, _mbslwr".
	{Name: "_wcslwr", Fn: return1(rtl.Wcslwr), Params: "str:wstr", MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *_wcsrev(wchar_t *str). "_strrev, _wcsrev, _mbsrev".
	{Name: "_wcsrev", Fn: return1(rtl.Wcsrev), Params: "str:wstr", MaxIRQL: anyIRQL, Support: Full},
	// wchar_t *_wcsnset(wchar_t *str, wchar_t c, size_t count). "_strnset, _wcsnset, _mbsnset".
	{Name: "_wcsnset", Fn: return3(rtl.Wcsnset), Params: "str:wstr c count:d", MaxIRQL: anyIRQL,
		Support: Full},
}
