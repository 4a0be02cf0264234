// Decodes Kubernetes manifests into Kubernetes' own types, strictly: an unknown, misplaced or repeated field, or a value of
// another type, is an error. Usage: go run . FILE...
package main

import (
	"bytes"
	"fmt"
	"os"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

var kinds = map[string]func() any{
	"v1 ServiceAccount":                  func() any { return new(core.ServiceAccount) },
	"v1 Secret":                          func() any { return new(core.Secret) },
	"batch/v1 Job":                       func() any { return new(batch.Job) },
	"batch/v1 CronJob":                   func() any { return new(batch.CronJob) },
	"networking.k8s.io/v1 NetworkPolicy": func() any { return new(networking.NetworkPolicy) },
}

func check(document []byte) error {
	var named struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(document, &named); err != nil {
		return err
	}
	name := named.APIVersion + " " + named.Kind
	create, known := kinds[name]
	if !known {
		return fmt.Errorf("no type for %q", name)
	}
	if err := yaml.UnmarshalStrict(document, create()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Println(name)
	return nil
}

func main() {
	for _, file := range os.Args[1:] {
		text, err := os.ReadFile(file)
		if err == nil {
			for _, document := range bytes.Split(text, []byte("\n---\n")) {
				if err = check(document); err != nil {
					break
				}
			}
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			os.Exit(1)
		}
	}
}
