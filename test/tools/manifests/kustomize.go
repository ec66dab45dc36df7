package main

import (
	"encoding/json"
	"errors"
	"fmt"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// kinds are the objects that deploy/k8s may hold, each with its Go type. One that
// is missing here is a fault too: nobody would check it.
var kinds = map[string]func() any{
	"v1 Namespace":                           func() any { return new(core.Namespace) },
	"v1 ConfigMap":                           func() any { return new(core.ConfigMap) },
	"v1 Service":                             func() any { return new(core.Service) },
	"v1 ServiceAccount":                      func() any { return new(core.ServiceAccount) },
	"apps/v1 Deployment":                     func() any { return new(apps.Deployment) },
	"batch/v1 Job":                           func() any { return new(batch.Job) },
	"policy/v1 PodDisruptionBudget":          func() any { return new(policy.PodDisruptionBudget) },
	"autoscaling/v2 HorizontalPodAutoscaler": func() any { return new(autoscaling.HorizontalPodAutoscaler) },
	"networking.k8s.io/v1 Ingress":           func() any { return new(networking.Ingress) },
	"networking.k8s.io/v1 NetworkPolicy":     func() any { return new(networking.NetworkPolicy) },
}

// objects builds the folder as `kubectl apply -k` does and decodes each object into
// its type, refusing what the type has no field for.
func objects(dir string) ([]any, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	var read []any
	var faults []error
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			return nil, err
		}
		kind := resource.GetApiVersion() + " " + resource.GetKind()
		name := kind + " " + resource.GetName()
		typed, known := kinds[kind]
		if !known {
			faults = append(faults, fmt.Errorf("%s: nothing is known of this kind", name))
			continue
		}
		object := typed()
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
			continue
		}
		if err := lossless(text, object); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
		read = append(read, object)
	}
	return read, errors.Join(faults...)
}

// lossless reports a value that reading and writing changes, such as a field in the
// wrong case, which the decoder takes all the same.
func lossless(text []byte, object any) error {
	var before, after map[string]any
	if err := yaml.Unmarshal(text, &before); err != nil {
		return err
	}
	written, err := json.Marshal(object)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(written, &after); err != nil {
		return err
	}
	return within("", before, after)
}

// within reports the first key of before that after lacks.
func within(path string, before, after any) error {
	switch before := before.(type) {
	case map[string]any:
		after, _ := after.(map[string]any)
		for key, value := range before {
			kept, has := after[key]
			if !has && !empty(value) {
				return fmt.Errorf("%s.%s is lost", path, key)
			}
			if has {
				if err := within(path+"."+key, value, kept); err != nil {
					return err
				}
			}
		}
	case []any:
		after, _ := after.([]any)
		for i, value := range before {
			if i >= len(after) {
				return fmt.Errorf("%s[%d] is lost", path, i)
			}
			if err := within(fmt.Sprintf("%s[%d]", path, i), value, after[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// empty reports whether a value is one that Go types leave out.
func empty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case bool:
		return !value
	case string:
		return value == ""
	case float64:
		return value == 0
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	}
	return false
}
