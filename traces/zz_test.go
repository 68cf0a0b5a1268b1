package traces
import ("testing";"os";"fmt";"math")
func TestZZ(t *testing.T){
  f,_:=os.Open("/tmp/leg.log"); tr,_,_:=ImportQEMU(f,ImportOptions{})
  type best struct{h float64; from,to uint64; n int; m map[uint32]int}
  var b best
  end:=tr.Events[len(tr.Events)-1].Time
  step:=uint64(50e6)
  N:=int(end/step)+1
  bins:=make([]map[uint32]int,N)
  for i:=range bins{bins[i]=map[uint32]int{}}
  for _,e:=range tr.Events{ if e.Kind.IsDMA(){bins[e.Time/step][uint32(e.SID)]++} }
  for i:=0;i<N;i++{ m:=map[uint32]int{}; n:=0
    for j:=i;j<N;j++{ for k,v:=range bins[j]{m[k]+=v;n+=v}
      if n>31000{break}
      if n>=25000{ h:=0.0; for _,v:=range m{p:=float64(v)/float64(n); h-=p*math.Log2(p)}
        if h>b.h{ c:=map[uint32]int{}; for k,v:=range m{c[k]=v}; b=best{h,uint64(i)*step,uint64(j+1)*step,n,c} } } } }
  fmt.Printf("%+v\n",b)
  w:=Window(tr,b.from,b.to); stat2(w)
}
func stat2(tr *Trace){k:=map[Kind]int{}; var m Mappings; bad:=0; for i:=range tr.Events{e:=&tr.Events[i];k[e.Kind]++; m.Apply(e); if !m.Allows(e){bad++}}; fmt.Println(k,bad,tr.Header)}
