package broker

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestBudgetOrderAndOverdraft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		b := NewBudget(100)
		reserve := func(l *Lease, n int64) <-chan error {
			done := make(chan error, 1)
			go func() { done <- l.Reserve(ctx, n) }()
			synctest.Wait()
			return done
		}
		waits := func(c <-chan error, who string) {
			t.Helper()
			select {
			case err := <-c:
				t.Fatalf("%s did not wait (%v)", who, err)
			default:
			}
		}
		goes := func(c <-chan error, who string) {
			t.Helper()
			select {
			case err := <-c:
				if err != nil {
					t.Fatalf("%s: %v", who, err)
				}
			default:
				t.Fatalf("%s waits", who)
			}
		}
		one, two, three := b.Lease(), b.Lease(), b.Lease()
		goes(reserve(one, 60), "the first")
		goes(reserve(two, 40), "the second")
		fresh := reserve(three, 1)
		waits(fresh, "a lease that holds nothing, with all in use")
		goes(reserve(two, 50), "the first that holds something: it may overdraw")
		grow := reserve(one, 30)
		waits(grow, "the second that holds something")
		if b.Used() != 150 {
			t.Fatalf("used %d", b.Used())
		}
		two.Release()
		synctest.Wait()
		goes(fresh, "the longest waiting")
		goes(grow, "the next")
		if b.Used() != 91 {
			t.Fatalf("used %d", b.Used())
		}
		one.Keep(10)
		one.Release()
		three.Release()
		if b.Used() != 0 {
			t.Fatalf("used %d in the end", b.Used())
		}
	})
}

// TestShares: the longer the line of those who hold all they can get, the less each gets, and there is still some for the next.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(1000)
		var leases []*Lease
		for _, want := range []int64{250, 187, 140, 105, 79, 59, 45, 33, 25, 19, 14, 11, 10, 10, 10} {
			leases = append(leases, b.Lease())
			got, err := leases[len(leases)-1].ReserveShare(t.Context(), 10, 900)
			if err != nil || got != want {
				t.Fatalf("the %dth gets %d, %v; want %d", len(leases), got, err, want)
			}
		}
		if got, err := b.Lease().ReserveShare(t.Context(), 2, 3); err != nil || got != 2 {
			t.Fatalf("%d, %v", got, err) // of 3 that are left
		}
		waiting := make(chan int64)
		go func() {
			got, err := b.Lease().ReserveShare(t.Context(), 10, 900)
			if err != nil {
				t.Error(err)
			}
			waiting <- got
		}()
		synctest.Wait()
		leases[0].Release()
		if got := <-waiting; got != 251/4 {
			t.Errorf("who has waited gets %d of 251", got)
		}
		if _, err := b.Lease().ReserveShare(t.Context(), 1001, 1001); err == nil {
			t.Error("more than the whole budget was granted")
		}
	})
}

func TestBudgetRefusesMoreThanItHas(t *testing.T) {
	b := NewBudget(100)
	l := b.Lease()
	if err := l.Reserve(t.Context(), 101); err == nil {
		t.Error("more than the whole budget was granted")
	}
	if err := l.Reserve(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
	if err := l.Reserve(t.Context(), 41); err == nil {
		t.Error("a lease grew beyond the whole budget")
	}
}

func TestBudgetWaiterThatGivesUpLetsOthersPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100)
		holder := b.Lease()
		if err := holder.Reserve(t.Context(), 80); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		large, small := make(chan error, 1), make(chan error, 1)
		go func() { large <- b.Lease().Reserve(ctx, 90) }()
		synctest.Wait()
		go func() { small <- b.Lease().Reserve(t.Context(), 20) }()
		synctest.Wait()
		select {
		case <-small:
			t.Fatal("the later one overtook")
		default:
		}
		cancel()
		if err := <-large; err == nil {
			t.Error("the one that gave up was granted")
		}
		if err := <-small; err != nil {
			t.Error(err)
		}
		if b.Used() != 100 {
			t.Errorf("used %d", b.Used())
		}
	})
}
