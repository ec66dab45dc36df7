package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// sample is one request as JMeter noted it.
type sample struct {
	label string
	// began is in ms since 1970, took in ms.
	began, took int64
	// fault is empty for a good answer.
	fault string
}

// readSamples reads a .jtl file in CSV, whose first line names its columns.
func readSamples(r io.Reader) ([]sample, error) {
	reader := csv.NewReader(r)
	header, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("reading the first line of the samples: %w", err)
	}
	column := map[string]int{}
	for i, name := range header {
		column[name] = i
	}
	for _, name := range []string{"timeStamp", "elapsed", "label", "responseCode", "responseMessage", "success", "failureMessage"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("the samples lack the column %s: there are %s", name, strings.Join(header, ", "))
		}
	}
	var samples []sample
	for {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return samples, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading samples: %w", err)
		}
		s := sample{label: row[column["label"]]}
		var more error
		s.began, err = strconv.ParseInt(row[column["timeStamp"]], 10, 64)
		s.took, more = strconv.ParseInt(row[column["elapsed"]], 10, 64)
		if err := errors.Join(err, more); err != nil {
			return nil, fmt.Errorf("reading samples: %w", err)
		}
		if row[column["success"]] != "true" {
			s.fault = strings.Join([]string{s.label, row[column["responseCode"]], row[column["responseMessage"]], row[column["failureMessage"]]}, ": ")
		}
		samples = append(samples, s)
	}
}

// line is a line of the table. Times are in ms.
type line struct {
	label                 string
	samples               int
	average               float64
	median, p90, p95, p99 int64
	failed                int
	throughput            float64 // samples a second
}

// aggregate returns a line for each label, in the order they first come in, and
// one for all.
func aggregate(samples []sample) []line {
	var labels []string
	by := map[string][]sample{}
	for _, s := range samples {
		if by[s.label] == nil {
			labels = append(labels, s.label)
		}
		by[s.label] = append(by[s.label], s)
	}
	var lines []line
	for _, label := range labels {
		lines = append(lines, summarize(label, by[label]))
	}
	return append(lines, summarize("TOTAL", samples))
}

// summarize counts as JMeter's Aggregate Report does. There is at least one sample.
func summarize(label string, samples []sample) line {
	l := line{label: label, samples: len(samples)}
	first, last, sum := int64(math.MaxInt64), int64(0), int64(0)
	var times []int64
	for _, s := range samples {
		first, last, sum = min(first, s.began), max(last, s.began+s.took), sum+s.took
		times = append(times, s.took)
		if s.fault != "" {
			l.failed++
		}
	}
	slices.Sort(times)
	n := float64(len(times))
	at := func(q float64) int64 { return times[max(1, int(math.Round(q*n)))-1] }
	l.average, l.median, l.p90, l.p95, l.p99 = float64(sum)/n, at(0.50), at(0.90), at(0.95), at(0.99)
	l.throughput = n * 1000 / float64(max(1, last-first))
	return l
}

// printTable prints the aggregate table of a plan.
func printTable(w io.Writer, plan string, samples []sample) error {
	if len(samples) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\n%s\tsamples\taverage ms\tmedian\t90 %%\t95 %%\t99 %%\terrors\tthroughput/s\t\n", plan)
	for _, l := range aggregate(samples) {
		fmt.Fprintf(table, "%s\t%d\t%.1f\t%d\t%d\t%d\t%d\t%.2f %%\t%.1f\t\n", l.label, l.samples, l.average, l.median, l.p90, l.p95, l.p99,
			100*float64(l.failed)/float64(l.samples), l.throughput)
	}
	return table.Flush()
}

// verdict is an error when samples failed, with the first of their faults, and when a
// request of the plan was never sent, since what it needs had not been found.
func verdict(requests []string, samples []sample) error {
	const shown = 5
	missing := slices.Clone(requests)
	var faults []string
	count := 0
	for _, s := range samples {
		missing = slices.DeleteFunc(missing, func(label string) bool { return label == s.label })
		if s.fault == "" {
			continue
		}
		count++
		if len(faults) < shown && !slices.Contains(faults, s.fault) {
			faults = append(faults, s.fault)
		}
	}
	var failed, unsent error
	if count > 0 {
		failed = fmt.Errorf("%d of %d samples failed:\n  %s", count, len(samples), strings.Join(faults, "\n  "))
	}
	if len(missing) > 0 {
		unsent = fmt.Errorf("never sent: %s", strings.Join(missing, "; "))
	}
	return errors.Join(failed, unsent)
}
