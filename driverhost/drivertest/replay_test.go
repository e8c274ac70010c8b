package drivertest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
)

func TestASessionIsATest(t *testing.T) {
	path, err := fixtures.Path("cancel")
	require.NoError(t, err)
	r := drivertest.Replay(t, path, "../../fixtures/sessions/cancel.irpl")
	require.Positive(t, r.Requests)
}
