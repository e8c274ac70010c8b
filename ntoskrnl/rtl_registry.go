package ntoskrnl

// Registry keys by path.
var rtlRegistryExports = []Export{
	{Name: "RtlCheckRegistryKey", Params: "RelativeTo Path:wstr", MaxIRQL: passive},
	{Name: "RtlCreateRegistryKey", Params: "RelativeTo Path:wstr", MaxIRQL: passive},
	{Name: "RtlDeleteRegistryValue", Params: "RelativeTo Path:wstr ValueName:wstr",
		MaxIRQL: passive},
	{Name: "RtlQueryRegistryValues", Params: "RelativeTo Path:wstr QueryTable Context Environment",
		MaxIRQL: passive},
	{Name: "RtlQueryRegistryValuesEx",
		Params: "RelativeTo Path:wstr QueryTable Context Environment", MaxIRQL: passive},
	{Name: "RtlWriteRegistryValue",
		Params:  "RelativeTo Path:wstr ValueName:wstr ValueType:d ValueData ValueLength:d",
		MaxIRQL: passive},
}
