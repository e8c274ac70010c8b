package ntoskrnl

import "github.com/drvhost/drvhost/ntoskrnl/rtl"

// The secure string functions. They give an errno_t: 0, EINVAL for a null pointer, or what their
// comment says. No handler is called for invalid parameters: the kernel's runtime has none.
var crtSecureExports = []Export{
	// errno_t strcpy_s(char *dest, rsize_t destsz, const char *src): ERANGE, and an empty string, if
	// it does not fit. "strcpy_s, wcscpy_s, _mbscpy_s".
	{Name: "strcpy_s", Fn: try3(rtl.StrcpyS), Params: "dest destsz:d src:str", MaxIRQL: anyIRQL,
		Support: Full},
	// errno_t strncpy_s(char *strDest, size_t numberOfElements, const char *strSource, size_t count):
	// with _TRUNCATE as count a string that does not fit is cut, and the result STRUNCATE.
	// "strncpy_s, wcsncpy_s".
	{Name: "strncpy_s", Fn: try4(rtl.StrncpyS), Params: "strDest sizeInBytes:d strSource count:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t strcat_s(char *strDestination, size_t numberOfElements, const char *strSource).
	// "strcat_s, wcscat_s, _mbscat_s".
	{Name: "strcat_s", Fn: try3(rtl.StrcatS),
		Params: "strDestination:str numberOfElements:d strSource:str", MaxIRQL: anyIRQL,
		Support: Full},
	// errno_t strncat_s(char *strDest, size_t numberOfElements, const char *strSource, size_t count).
	// "strncat_s, wcsncat_s".
	{Name: "strncat_s", Fn: try4(rtl.StrncatS),
		Params: "strDest:str numberOfElements:d strSource count:d", MaxIRQL: anyIRQL,
		Support: Full},
	// errno_t wcscpy_s(wchar_t *dest, rsize_t destsz, const wchar_t *src): ERANGE, and an empty
	// string, if it does not fit. "strcpy_s, wcscpy_s, _mbscpy_s".
	{Name: "wcscpy_s", Fn: try3(rtl.WcscpyS), Params: "dest destsz:d src:wstr", MaxIRQL: anyIRQL,
		Support: Full},
	// errno_t wcsncpy_s(wchar_t *strDest, size_t numberOfElements, const wchar_t *strSource, size_t
	// count): with _TRUNCATE as count a string that does not fit is cut, and the result STRUNCATE.
	// "strncpy_s, wcsncpy_s".
	{Name: "wcsncpy_s", Fn: try4(rtl.WcsncpyS),
		Params: "strDest numberOfElements:d strSource count:d", MaxIRQL: anyIRQL, Support: Full},
	// errno_t wcscat_s(wchar_t *strDestination, size_t numberOfElements, const wchar_t *strSource).
	// "strcat_s, wcscat_s, _mbscat_s".
	{Name: "wcscat_s", Fn: try3(rtl.WcscatS),
		Params: "strDestination:wstr numberOfElements:d strSource:wstr", MaxIRQL: anyIRQL,
		Support: Full},
	// errno_t wcsncat_s(wchar_t *strDest, size_t numberOfElements, const wchar_t *strSource, size_t
	// count). "strncat_s, wcsncat_s".
	{Name: "wcsncat_s", Fn: try4(rtl.WcsncatS),
		Params: "strDest:wstr numberOfElements:d strSource count:d", MaxIRQL: anyIRQL,
		Support: Full},
	// errno_t _wcslwr_s(wchar_t *str, size_t numberOfElements). "_strlwr_s, _strlwr_s_l, _mbslwr_s".
	{Name: "_wcslwr_s", Fn: try2(rtl.WcslwrS), Params: "str:wstr numberOfElements:d",
		MaxIRQL: anyIRQL, Support: Full},
	// char *strtok_s(char *str, const char *strDelimiters, char **context): the next token, or NULL.
	// A null str goes on at *context. "strtok_s, _strtok_s_l, wcstok_s".
	{Name: "strtok_s", Fn: try3(rtl.StrtokS), Params: "str strDelimiters:str context",
		MaxIRQL: anyIRQL, Support: Full},
}
