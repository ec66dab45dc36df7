package trace

import (
	"strings"
	"testing"

	"github.com/opentracing/opentracing-go"
)

// FuzzExtract reads arbitrary headers of callers: a context it takes is a real one,
// and goes on as the same.
func FuzzExtract(f *testing.F) {
	for _, value := range []string{
		"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1", "0:0:0:0", ":::", "1:2:3:255", strings.Repeat("4b", 99),
	} {
		f.Add(value)
	}
	wire := &traceparent{}
	f.Fuzz(func(t *testing.T, value string) {
		for _, name := range []string{w3cHeader, jaegerHeader} {
			context, err := wire.Extract(opentracing.TextMapCarrier{name: value})
			if err != nil {
				continue
			}
			if !context.IsValid() {
				t.Errorf("%s: %q is %v", name, value, context)
			}
			onward := opentracing.TextMapCarrier{}
			if err := wire.Inject(context, onward); err != nil {
				t.Fatal(err)
			}
			again, err := wire.Extract(onward)
			if err != nil || again.TraceID() != context.TraceID() || again.SpanID() != context.SpanID() || again.IsSampled() != context.IsSampled() {
				t.Errorf("%s: %q went on as %q", name, value, onward[w3cHeader])
			}
		}
	})
}
