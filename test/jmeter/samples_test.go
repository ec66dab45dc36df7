package main

import (
	"strings"
	"testing"
)

// took are good samples of a label, one a second, that took these times.
func took(label string, times ...int64) (samples []sample) {
	for i, ms := range times {
		samples = append(samples, sample{label: label, began: int64(i) * 1000, took: ms})
	}
	return samples
}

// upTo are the numbers from n down to 1.
func upTo(n int64) (numbers []int64) {
	for ; n > 0; n-- {
		numbers = append(numbers, n)
	}
	return numbers
}

func TestAggregate(t *testing.T) {
	for name, c := range map[string]struct {
		samples []sample
		want    line
	}{
		"one":          {took("a", 7), line{"a", 1, 7, 7, 7, 7, 7, 0, 1000.0 / 7}},
		"two":          {took("a", 9, 1000), line{"a", 2, 504.5, 9, 1000, 1000, 1000, 0, 1}},
		"no time":      {took("a", 0), line{"a", 1, 0, 0, 0, 0, 0, 0, 1000}},
		"ten":          {took("a", upTo(10)...), line{"a", 10, 5.5, 5, 9, 10, 10, 0, 10_000.0 / 9001}},
		"a hundred":    {took("a", upTo(100)...), line{"a", 100, 50.5, 50, 90, 95, 99, 0, 100_000.0 / 99_001}},
		"two thousand": {took("a", upTo(2000)...), line{"a", 2000, 1000.5, 1000, 1800, 1900, 1980, 0, 2_000_000.0 / 1_999_001}},
		"one failed": {
			[]sample{{"a", 5000, 500, ""}, {"a", 4500, 100, "no"}, {"a", 4600, 300, ""}, {"a", 4700, 300, ""}},
			line{"a", 4, 300, 300, 500, 500, 500, 1, 4},
		},
	} {
		t.Run(name, func(t *testing.T) {
			total := c.want
			total.label = "TOTAL"
			got := aggregate(c.samples)
			if len(got) != 2 || got[0] != c.want || got[1] != total {
				t.Errorf("%+v,\nnot twice %+v", got, c.want)
			}
		})
	}
}

func TestAggregateTellsLabelsApart(t *testing.T) {
	got := aggregate(append(took("like", 1, 3), took("feed", 10)...))
	for i, want := range []line{
		{"like", 2, 2, 1, 3, 3, 3, 0, 2000.0 / 1003}, {"feed", 1, 10, 10, 10, 10, 10, 0, 100}, {"TOTAL", 3, 14.0 / 3, 3, 10, 10, 10, 0, 3000.0 / 1003},
	} {
		if got[i] != want {
			t.Errorf("line %d is %+v, not %+v", i, got[i], want)
		}
	}
}

// columns are those that JMeter 5.6 writes.
const columns = "timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success,failureMessage,bytes,sentBytes,grpThreads,allThreads,URL,Latency,IdleTime,Connect\n"

func TestReadSamples(t *testing.T) {
	const good = "1700000000000,12,\"feed, anonymous\",200,OK,Users 1-1,text,true,,900,120,1,1,http://x,11,0,1\n"
	const bad = "1700000000020,8,like,200,OK,Users 1-1,text,false,\"Test failed: text expected to contain /\"\"status_code\"\":0,/\",90,120,1,1,http://x,7,0,0\n"
	for name, c := range map[string]struct {
		file string
		want []sample
		err  string
	}{
		"good":              {columns + good, []sample{{"feed, anonymous", 1_700_000_000_000, 12, ""}}, ""},
		"good and bad":      {columns + good + bad, []sample{{"feed, anonymous", 1_700_000_000_000, 12, ""}, {"like", 1_700_000_000_020, 8, `like: 200: OK: Test failed: text expected to contain /"status_code":0,/`}}, ""},
		"of another order":  {"label,success,elapsed,timeStamp,responseCode,responseMessage,failureMessage\nx,true,1,2,200,OK,\n", []sample{{"x", 2, 1, ""}}, ""},
		"no sample":         {columns, nil, ""},
		"empty":             {"", nil, "first line"},
		"no names":          {good + bad, nil, "lack the column timeStamp"},
		"XML":               {"<?xml version=\"1.0\"?>\n", nil, "first line"},
		"no failureMessage": {strings.Replace(columns, "failureMessage", "x", 1) + good, nil, "lack the column failureMessage"},
		"cut off":           {columns + good + good[:40], nil, "reading samples"},
		"a time as a date":  {columns + strings.Replace(good, "1700000000000", "2026/01/01", 1), nil, "reading samples"},
		"half a ms":         {columns + strings.Replace(good, ",12,", ",1.5,", 1), nil, "reading samples"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readSamples(strings.NewReader(c.file))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error is %v, which does not say %q", err, c.err)
				}
				return
			}
			if err != nil || len(got) != len(c.want) {
				t.Fatalf("%+v, %v, not %+v", got, err, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("%+v, not %+v", got[i], c.want[i])
				}
			}
		})
	}
}
