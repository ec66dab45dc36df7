package trace

import (
	"fmt"
	"sync/atomic"

	"github.com/uber/jaeger-client-go"
	jaegerconfig "github.com/uber/jaeger-client-go/config"

	"backbeat/config"
)

// sampler decides which traces somebody will see, by rules that may change.
type sampler struct {
	rule atomic.Pointer[rule]
}

type rule struct {
	kind  string
	param float64
	jaeger.Sampler
}

// set changes the rule for traces that begin from now on. Set to what it is, a
// sampler goes on counting.
func (s *sampler) set(cfg config.Jaeger) error {
	if old := s.rule.Load(); old != nil && old.kind == cfg.Sampler && old.param == cfg.SamplerParam {
		return nil
	}
	made, err := (&jaegerconfig.SamplerConfig{Type: cfg.Sampler, Param: cfg.SamplerParam}).NewSampler("", nil)
	if err != nil {
		return fmt.Errorf("sampler: %w", err)
	}
	s.rule.Store(&rule{cfg.Sampler, cfg.SamplerParam, made})
	return nil
}

// IsSampled implements jaeger.Sampler.
func (s *sampler) IsSampled(id jaeger.TraceID, operation string) (bool, []jaeger.Tag) {
	return s.rule.Load().IsSampled(id, operation)
}

// Equal implements jaeger.Sampler.
func (s *sampler) Equal(other jaeger.Sampler) bool { return other == jaeger.Sampler(s) }

// Close implements jaeger.Sampler; none of the rules has anything to close.
func (s *sampler) Close() {}
