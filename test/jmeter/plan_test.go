package main

import (
	"encoding/csv"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"backbeat/app/gateway"
	"backbeat/app/seed"
)

// parameters are what every plan takes by -J.
var parameters = []string{"host", "loops", "pause", "port", "protocol", "ramp", "threads", "users"}

func TestPlansAreAllThatRun(t *testing.T) {
	files, err := filepath.Glob("*.jmx")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, plan := range plans {
		want = append(want, plan+".jmx")
	}
	slices.Sort(want)
	if !slices.Equal(files, want) {
		t.Errorf("the plans are %v, and %v run", files, want)
	}
}

func TestPlansAskForEndpointsThatThereAre(t *testing.T) {
	var endpoints []string
	for _, route := range gateway.Routes() {
		endpoints = append(endpoints, route.Method+" "+route.Path)
	}
	for _, plan := range plans {
		t.Run(plan, func(t *testing.T) {
			requests, err := readRequests(plan + ".jmx")
			if err != nil {
				t.Fatal(err)
			}
			labels := map[string]bool{}
			for _, r := range requests {
				if !slices.Contains(endpoints, r.method+" "+r.path) {
					t.Errorf("%s asks for %s %s, which is no endpoint", r.label, r.method, r.path)
				}
				if labels[r.label] {
					t.Errorf("two requests are called %s", r.label)
				}
				labels[r.label] = true
			}
			if !labels["login"] || len(labels) < 2 {
				t.Errorf("the requests are %v", requests)
			}
		})
	}
}

// element is one of a plan, with all in it.
type element struct {
	XMLName  xml.Name
	Class    string    `xml:"testclass,attr"`
	Name     string    `xml:"name,attr"`
	Enabled  string    `xml:"enabled,attr"`
	Text     string    `xml:",chardata"`
	Elements []element `xml:",any"`
}

// walk visits the element and all in it.
func (e element) walk(visit func(element)) {
	visit(e)
	for _, child := range e.Elements {
		child.walk(visit)
	}
}

// tree is the hashTree that holds the elements of the whole plan.
func tree(t *testing.T, plan string) (root element, whole []element) {
	t.Helper()
	content, err := os.ReadFile(plan + ".jmx")
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(content, &root); err != nil {
		t.Fatal(err)
	}
	if root.XMLName.Local != "jmeterTestPlan" || len(root.Elements) != 1 || len(root.Elements[0].Elements) != 2 {
		t.Fatal("this is no plan")
	}
	return root, root.Elements[0].Elements[1].Elements
}

// An assertion beside the users holds for every request of theirs.
func TestPlansAssertTheStatusCode(t *testing.T) {
	const substring = "16"
	for _, plan := range plans {
		t.Run(plan, func(t *testing.T) {
			_, whole := tree(t, plan)
			i := slices.IndexFunc(whole, func(e element) bool { return e.Class == "ResponseAssertion" })
			if i < 0 {
				t.Fatal("nothing is asserted of every request")
			}
			var texts []string
			whole[i].walk(func(e element) { texts = append(texts, strings.TrimSpace(e.Text)) })
			for _, want := range []string{`"status_code":0,`, "Assertion.response_data", substring} {
				if !slices.Contains(texts, want) {
					t.Errorf("%q is not in the assertion: %q", want, texts)
				}
			}
		})
	}
}

// Each element is followed by the hashTree of what is in it: the window opens
// nothing else.
func TestPlansAreTrees(t *testing.T) {
	for _, plan := range plans {
		t.Run(plan, func(t *testing.T) {
			root, _ := tree(t, plan)
			root.walk(func(e element) {
				if e.Enabled == "false" {
					t.Errorf("a %s is disabled", e.Class)
				}
				if e.XMLName.Local != "hashTree" {
					return
				}
				for i, child := range e.Elements {
					if (child.XMLName.Local == "hashTree") != (i%2 == 1) || len(e.Elements)%2 != 0 {
						t.Fatalf("the %s number %d of %d is out of place", child.XMLName.Local, i, len(e.Elements))
					}
				}
			})
		})
	}
}

func TestPlansTakeTheSameParameters(t *testing.T) {
	function := regexp.MustCompile(`\$\{__P\((\w+),[^)]+\)}`)
	for _, plan := range plans {
		t.Run(plan, func(t *testing.T) {
			root, _ := tree(t, plan)
			var taken []string
			root.walk(func(e element) {
				for _, match := range function.FindAllStringSubmatch(e.Text, -1) {
					taken = append(taken, match[1])
				}
			})
			slices.Sort(taken)
			if !slices.Equal(taken, parameters) {
				t.Errorf("it takes %v, not each of %v once", taken, parameters)
			}
		})
	}
}

func TestUsersAreThoseOfSeed(t *testing.T) {
	file, err := os.Open("users.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		if want := []string{seed.Name(i, len(rows)), seed.Password}; !slices.Equal(row, want) {
			t.Fatalf("user %d is %q, not %q", i, row, want)
		}
	}
}
