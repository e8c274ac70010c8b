package ntoskrnl_test

import "testing"

func TestOddDriver(t *testing.T) { testScenarios(t, "odd", nil) }
