package catalogtest

import (
	"testing"

	"github.com/firn-io/firn/catalog"
)

func TestFake(t *testing.T) {
	Suite(t, func(*testing.T) catalog.Client { return NewFake() })
}

func TestSQLite(t *testing.T) {
	Suite(t, func(t *testing.T) catalog.Client { return NewSQLite(t) })
}
