package ntoskrnl

import "github.com/drvhost/drvhost/ntoskrnl/rtl"

// Characters: their classes and their case, in the "C" locale.
var crtCtypeExports = []Export{
	// int isdigit(int c): not 0 for 0 to 9. "isdigit, iswdigit, _isdigit_l, _iswdigit_l".
	{Name: "isdigit", Fn: pure1(rtl.Isdigit), Params: "c", MaxIRQL: anyIRQL, Support: Full},
	// int isxdigit(int c): not 0 for 0 to 9, A to F and a to f. "isxdigit, iswxdigit, _isxdigit_l,
	// _iswxdigit_l".
	{Name: "isxdigit", Fn: pure1(rtl.Isxdigit), Params: "c", MaxIRQL: anyIRQL, Support: Full},
	// int islower(int c): not 0 for a to z. "islower, iswlower, _islower_l, _iswlower_l".
	{Name: "islower", Fn: pure1(rtl.Islower), Params: "c", MaxIRQL: anyIRQL, Support: Full},
	// int isupper(int c): not 0 for A to Z. "isupper, iswupper, _isupper_l, _iswupper_l".
	{Name: "isupper", Fn: pure1(rtl.Isupper), Params: "c", MaxIRQL: anyIRQL, Support: Full},
	// int isspace(int c): not 0 for space, and 9 to 13. "isspace, iswspace, _isspace_l, _iswspace_l".
	{Name: "isspace", Fn: pure1(rtl.Isspace), Params: "c", MaxIRQL: anyIRQL, Support: Full},
	// int isprint(int c): not 0 for what can be printed, with the space. "isprint, iswprint,
	// _isprint_l, _iswprint_l".
	{Name: "isprint", Fn: pure1(rtl.Isprint), Params: "c", MaxIRQL: anyIRQL, Support: Full},
	// int tolower(int c). "tolower, _tolower, towlower, _tolower_l, _towlower_l".
	{Name: "tolower", Fn: pure1(rtl.Tolower), Params: "c", MaxIRQL: anyIRQL, Support: Full},
	// int toupper(int c). "toupper, _toupper, towupper, _toupper_l, _towupper_l".
	{Name: "toupper", Fn: pure1(rtl.Toupper), Params: "c", MaxIRQL: anyIRQL, Support: Full},
	// wint_t towlower(wint_t c). "tolower, _tolower, towlower, _tolower_l, _towlower_l".
	{Name: "towlower", Fn: pure1(rtl.Towlower), Params: "c", MaxIRQL: anyIRQL, Support: Full},
	// wint_t towupper(wint_t c). "toupper, _toupper, towupper, _toupper_l, _towupper_l".
	{Name: "towupper", Fn: pure1(rtl.Towupper), Params: "c", MaxIRQL: anyIRQL, Support: Full},
}
