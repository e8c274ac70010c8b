package ntoskrnl_test

import "testing"

func TestApcDriver(t *testing.T) { testScenarios(t, "apc", nil) }
