package ship

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"backbeat/app/boot"
)

// object is any object of Kubernetes, and what is looked at of those that select,
// scale or admit.
type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace     string
		Labels, Annotations map[string]string
	}
	Data map[string]string
	Spec struct {
		Replicas *int
		Selector json.RawMessage
		Template struct {
			Metadata struct{ Labels, Annotations map[string]string }
			Spec     pod
		}
		// Of a HorizontalPodAutoscaler.
		ScaleTargetRef struct{ Kind, Name string }
		Metrics        []struct {
			External *struct {
				Metric struct {
					Selector struct {
						MatchExpressions []struct {
							Key    string
							Values []string
						}
					}
				}
			}
		}
		// Of a NetworkPolicy.
		PodSelector selector
		Ingress     []struct {
			From  []struct{ PodSelector *selector }
			Ports []struct{ Port int }
		}
		// Of a Service, and of an Ingress.
		Ports []struct {
			Name       string
			Port       int
			TargetPort any
		}
		Rules []struct {
			HTTP struct {
				Paths []struct {
					Backend struct {
						Service struct {
							Name string
							Port struct{ Name string }
						}
					}
				}
			}
		}
	}
}

type selector struct {
	MatchLabels      map[string]string
	MatchExpressions []struct{ Key, Operator string }
}

// picks reports whether the selector picks what has these labels.
func (s selector) picks(labels map[string]string) bool {
	for name, value := range s.MatchLabels {
		if labels[name] != value {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		if _, has := labels[e.Key]; e.Operator != "Exists" || !has {
			return false
		}
	}
	return true
}

type pod struct {
	EnableServiceLinks            *bool
	AutomountServiceAccountToken  *bool
	TerminationGracePeriodSeconds int
	TopologySpreadConstraints     []struct{ LabelSelector selector }
	SecurityContext               struct {
		RunAsNonRoot bool
		RunAsUser    int
	}
	Containers []struct {
		Name, Image string
		Args        []string
		EnvFrom     []struct{ ConfigMapRef struct{ Name string } }
		Env         []struct {
			Name, Value string
			ValueFrom   *struct{ FieldRef struct{ FieldPath string } }
		}
		Ports     []struct{ ContainerPort int }
		Resources struct{ Requests, Limits map[string]string }
		Lifecycle struct {
			PreStop struct{ Sleep struct{ Seconds int } }
		}
		StartupProbe, LivenessProbe, ReadinessProbe probe
		SecurityContext                             struct {
			ReadOnlyRootFilesystem   bool
			AllowPrivilegeEscalation *bool
			Capabilities             struct{ Drop []string }
		}
		VolumeMounts []struct{ Name, MountPath string }
	}
	Volumes []struct {
		Name   string
		Secret struct {
			SecretName string
			Items      []struct{ Key, Path string }
		}
	}
}

type probe struct {
	HTTPGet struct {
		Path string
		Port any
	}
}

var overlays = []string{"dev", "production"}

func objects(t *testing.T, overlay string) map[string][]object {
	t.Helper()
	byKind := map[string][]object{}
	for _, o := range read[[]object](t, "kustomize", "k8s/overlays/"+overlay) {
		byKind[o.Kind] = append(byKind[o.Kind], o)
	}
	return byKind
}

// processes returns the Deployments of our own image by their names, and the Job.
func processes(all map[string][]object) map[string]object {
	ours := map[string]object{}
	for _, o := range slices.Concat(all["Deployment"], all["Job"]) {
		if strings.HasPrefix(o.Spec.Template.Spec.Containers[0].Image, "backbeat:") {
			ours[o.Metadata.Name] = o
		}
	}
	return ours
}

// environment is what the process of a pod sees.
func environment(t *testing.T, all map[string][]object, p pod) map[string]string {
	t.Helper()
	env := imageEnv(t)
	for _, from := range p.Containers[0].EnvFrom {
		i := slices.IndexFunc(all["ConfigMap"], func(o object) bool { return o.Metadata.Name == from.ConfigMapRef.Name })
		if i < 0 {
			t.Fatalf("there is no ConfigMap %s", from.ConfigMapRef.Name)
		}
		maps.Copy(env, all["ConfigMap"][i].Data)
	}
	for _, e := range p.Containers[0].Env {
		env[e.Name] = e.Value
		if e.ValueFrom != nil {
			equal(t, "where "+e.Name+" is from", e.ValueFrom.FieldRef.FieldPath, "status.podIP")
			env[e.Name] = "10.1.2.3"
		}
	}
	return env
}

func TestKubernetesRunsEveryRole(t *testing.T) {
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			all := objects(t, overlay)
			ours := processes(all)
			equal(t, "processes", strings.Join(slices.Sorted(maps.Keys(ours)), " "),
				strings.Join(slices.Sorted(slices.Values(append(roles(), "migrate"))), " "))
			for name, o := range ours {
				t.Run(name, func(t *testing.T) { checkProcess(t, all, name, o.Spec.Template.Spec) })
			}
		})
	}
}

func checkProcess(t *testing.T, all map[string][]object, name string, p pod) {
	c := p.Containers[0]
	env := environment(t, all, p)
	cfg := load(t, env)
	equal(t, "its arguments", strings.Join(c.Args, " "), map[bool]string{true: "migrate up", false: name}[name == "migrate"])
	equal(t, "enableServiceLinks", p.EnableServiceLinks != nil && !*p.EnableServiceLinks, true)
	equal(t, "automountServiceAccountToken", p.AutomountServiceAccountToken != nil && !*p.AutomountServiceAccountToken, true)
	equal(t, "runAsNonRoot", p.SecurityContext.RunAsNonRoot, true)
	equal(t, "the user", fmt.Sprintf("%d:%[1]d", p.SecurityContext.RunAsUser), instructions(t, "USER")[0])
	equal(t, "readOnlyRootFilesystem", c.SecurityContext.ReadOnlyRootFilesystem, true)
	equal(t, "allowPrivilegeEscalation", c.SecurityContext.AllowPrivilegeEscalation != nil && !*c.SecurityContext.AllowPrivilegeEscalation, true)
	equal(t, "dropped capabilities", strings.Join(c.SecurityContext.Capabilities.Drop, " "), "ALL")
	if c.Resources.Limits["memory"] == "" || c.Resources.Requests["cpu"] == "" {
		t.Errorf("resources are %v", c.Resources)
	}
	pinned(t, c.Image)

	var given []string
	for _, volume := range p.Volumes {
		for _, item := range volume.Secret.Items {
			given = append(given, "/run/secrets/"+item.Path)
			equal(t, "the Secret", volume.Secret.SecretName, "backbeat")
			equal(t, "the Secret's key", item.Key, item.Path)
		}
	}
	slices.Sort(given)
	equal(t, "secrets", strings.Join(given, " "), strings.Join(mounted(env), " "))
	for _, volume := range p.Volumes {
		if !slices.ContainsFunc(c.VolumeMounts, func(m struct{ Name, MountPath string }) bool { return m.Name == volume.Name }) {
			t.Errorf("the volume %s is nowhere", volume.Name)
		}
	}
	if name == "migrate" {
		return
	}
	if err := boot.Check(cfg, name); err != nil {
		t.Error(err)
	}
	wait := time.Duration(p.TerminationGracePeriodSeconds-c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	if wait <= boot.Grace(cfg) {
		t.Errorf("it is killed after %v, but may take %v", wait, boot.Grace(cfg))
	}
	for path, probe := range map[string]probe{"/readyz": c.StartupProbe, "/livez": c.LivenessProbe} {
		equal(t, "a probe", fmt.Sprint(probe.HTTPGet), "{"+path+" admin}")
	}
	equal(t, "the readiness probe", fmt.Sprint(c.ReadinessProbe.HTTPGet), "{/readyz admin}")
	var ports []string
	for _, port := range c.Ports {
		ports = append(ports, fmt.Sprint(":", port.ContainerPort))
	}
	listens := []string{cfg.Admin.Listen}
	if name == "gateway" {
		listens = append(listens, cfg.HTTP.Listen)
	} else if !strings.HasSuffix(name, "-worker") {
		listens = append(listens, cfg.RPC.Listen)
		equal(t, "rpc.advertise", cfg.RPC.Advertise, "10.1.2.3")
	}
	slices.Sort(ports)
	slices.Sort(listens)
	equal(t, "ports", strings.Join(ports, " "), strings.Join(listens, " "))
	equal(t, "spread over nodes and zones", len(p.TopologySpreadConstraints), 2)
}

// Whatever names or selects something finds it.
func TestKubernetesReferences(t *testing.T) {
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			all := objects(t, overlay)
			labels := map[string]map[string]string{}
			for _, o := range slices.Concat(all["Deployment"], all["Job"]) {
				labels[o.Metadata.Name] = o.Spec.Template.Metadata.Labels
				pinned(t, o.Spec.Template.Spec.Containers[0].Image)
			}
			picked := func(s selector) (names []string) {
				for _, name := range slices.Sorted(maps.Keys(labels)) {
					if s.picks(labels[name]) {
						names = append(names, name)
					}
				}
				return names
			}
			for _, o := range slices.Concat(all["Deployment"], all["PodDisruptionBudget"]) {
				var s selector
				if err := json.Unmarshal(o.Spec.Selector, &s); err != nil {
					t.Fatal(err)
				}
				equal(t, o.Kind+" "+o.Metadata.Name+" selects", strings.Join(picked(s), " "), o.Metadata.Name)
			}
			for _, o := range all["Service"] {
				var s selector
				if err := json.Unmarshal(o.Spec.Selector, &s.MatchLabels); err != nil {
					t.Fatal(err)
				}
				equal(t, "Service "+o.Metadata.Name+" selects", strings.Join(picked(s), " "), o.Metadata.Name)
			}
			scaled := map[string]bool{}
			for _, o := range all["HorizontalPodAutoscaler"] {
				equal(t, "what "+o.Metadata.Name+" scales", o.Spec.ScaleTargetRef.Kind+" "+o.Spec.ScaleTargetRef.Name, "Deployment "+o.Metadata.Name)
				scaled[o.Metadata.Name] = true
				for _, metric := range o.Spec.Metrics {
					if metric.External == nil {
						continue
					}
					for _, queue := range metric.External.Metric.Selector.MatchExpressions[0].Values {
						if !slices.Contains(queues(), queue) {
							t.Errorf("%s is scaled by %s, which is no queue", o.Metadata.Name, queue)
						}
					}
				}
			}
			for name, o := range processes(all) {
				if o.Kind == "Deployment" && scaled[name] == (o.Spec.Replicas != nil) {
					t.Errorf("%s has either an autoscaler or a number of replicas", name)
				}
			}
			for _, o := range all["Ingress"] {
				backend := o.Spec.Rules[0].HTTP.Paths[0].Backend.Service
				equal(t, "what is behind the Ingress", backend.Name+" "+backend.Port.Name, "gateway http")
			}
			checkNetwork(t, all, picked)
		})
	}
}

// checkNetwork compares who is let in with who listens.
func checkNetwork(t *testing.T, all map[string][]object, picked func(selector) []string) {
	t.Helper()
	open := map[string][]string{} // port → roles
	for _, o := range all["NetworkPolicy"] {
		for _, rule := range o.Spec.Ingress {
			for _, port := range rule.Ports {
				open[fmt.Sprint(port.Port)] = append(open[fmt.Sprint(port.Port)], picked(o.Spec.PodSelector)...)
				if port.Port == 7000 {
					equal(t, "who may call services", strings.Join(picked(*rule.From[0].PodSelector), " "), "gateway")
				}
			}
		}
	}
	var services []string
	for _, role := range slices.Sorted(slices.Values(roles())) {
		if role != "gateway" && !strings.HasSuffix(role, "-worker") {
			services = append(services, role)
		}
	}
	equal(t, "8080 is open at", strings.Join(open["8080"], " "), "gateway")
	equal(t, "7000 is open at", strings.Join(open["7000"], " "), strings.Join(services, " "))
	equal(t, "9000 is open at", strings.Join(open["9000"], " "), strings.Join(slices.Sorted(slices.Values(roles())), " "))
	if !slices.ContainsFunc(all["NetworkPolicy"], func(o object) bool {
		return o.Spec.PodSelector.picks(nil) && len(o.Spec.Ingress) == 0
	}) {
		t.Error("nothing shuts what no rule opens")
	}
}

func queues() []string {
	var names []string
	for _, q := range boot.Queues() {
		names = append(names, q.Name)
	}
	return names
}

// What is not in the manifests is looked for in the Secret, whose keys are the files
// of secrets.sh; and the ingress controller has nginx.conf's bound.
func TestKubernetesAgreesWithTheRest(t *testing.T) {
	for _, overlay := range overlays {
		for _, o := range objects(t, overlay)["Ingress"] {
			size := o.Metadata.Annotations["nginx.ingress.kubernetes.io/proxy-body-size"]
			if !strings.Contains(file(t, "nginx.conf"), "client_max_body_size "+size+";") {
				t.Errorf("the Ingress takes %s, nginx.conf another size", size)
			}
		}
	}
}
