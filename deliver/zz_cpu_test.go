package deliver
import ("testing";"syscall";"time")
func cpu() time.Duration { var r syscall.Rusage; syscall.Getrusage(0,&r); return time.Duration(r.Utime.Nano()+r.Stime.Nano()) }
func BenchmarkCPU(b *testing.B) {
	body := checkBody(b)
	ours := serveBench(b, busy(b, 1, 1).http, "POST", "/v1/check", body)
	base := serveBench(b, bare(b, ours), "POST", "/", body)
	ours.turn(b); base.turn(b)
	var o, s time.Duration
	n := 0
	for n < b.N { t0 := cpu(); ours.turn(b); t1 := cpu(); base.turn(b); o += t1-t0; s += cpu()-t1; n += benchClients*benchTurn }
	b.ReportMetric(float64(o)/float64(n)/1000, "us_ours")
	b.ReportMetric(float64(s)/float64(n)/1000, "us_bare")
	b.ReportMetric(float64(s)/float64(o), "ratio")
}
