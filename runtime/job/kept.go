package job

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// keptVersion is the version of what Kept writes.
const keptVersion = 1

// kept is the part of a job file that decides what records become, itself a job file in JSON.
type kept struct {
	Version int     `json:"version"`
	Job     keptJob `json:"job"`
}

type keptJob struct {
	Source    *keptSource       `json:"source,omitempty"`
	Decode    keptDecode        `json:"decode"`
	Transform []json.RawMessage `json:"transform,omitempty"`
	Table     keptTable         `json:"table"`
	Errors    keptErrors        `json:"errors"`
}

type (
	keptSource struct {
		Pattern string `json:"pattern"`
	}
	keptDecode struct {
		Key   keptFormat `json:"key"`
		Value keptFormat `json:"value"`
	}
	keptFormat struct {
		Format string          `json:"format"`
		Schema json.RawMessage `json:"schema,omitempty"`
	}
	keptTable struct {
		Name string `json:"name"`
	}
	keptErrors struct {
		Policy string `json:"policy"`
	}
)

// Kept is the part of the job file that decides what records become, for ParseKept. It has the decoding, the transforms, the table's name
// and the error policy; the pattern of the source only if the name takes groups of it. It has nothing of the catalog, the sink and the
// store, where secrets are, and nothing that was read from the environment.
func (j *Job) Kept() ([]byte, error) {
	k := kept{Version: keptVersion, Job: keptJob{
		Decode: keptDecode{Key: keptFormat{Format: j.Decode.Key.Format}, Value: keptFormat{Format: j.Decode.Value.Format}},
		Table:  keptTable{j.Table.Name},
		Errors: keptErrors{j.Errors.Policy},
	}}
	if strings.Contains(j.Table.Name, "{match:") {
		k.Job.Source = &keptSource{j.Source.Pattern}
	}
	var err error
	if k.Job.Decode.Value.Schema, err = ordered(j.Decode.Value.Schema); err != nil {
		return nil, fmt.Errorf("decode.value.schema: %w", err)
	}
	for i := range j.Transform {
		s := &j.Transform[i]
		var settings any
		if err := yaml.NodeToValue(s.settings, &settings, yaml.UseOrderedMap()); err != nil {
			return nil, fmt.Errorf("transform %s: %w", s.Kind, err)
		}
		step, err := ordered(yaml.MapSlice{{Key: s.Kind, Value: settings}})
		if err != nil {
			return nil, fmt.Errorf("transform %s: %w", s.Kind, err)
		}
		k.Job.Transform = append(k.Job.Transform, step)
	}
	return marshal(k)
}

// Hash tells apart what records become: two jobs with the same hash decode, transform and route alike.
func (j *Job) Hash() (string, error) {
	k, err := j.Kept()
	if err != nil {
		return "", err
	}
	return hashOf(k), nil
}

func hashOf(kept []byte) string {
	h := sha256.Sum256(kept)
	return hex.EncodeToString(h[:8])
}

// CheckKept tells what Kept has written under a hash from anything else: a job that it is taken for would run what it says, programs included.
func CheckKept(hash string, text []byte) error {
	if is := hashOf(text); is != hash {
		return fmt.Errorf("its hash is %s: somebody has changed it", is)
	}
	return nil
}

// ParseKept reads what Kept has written: a job that decodes, transforms and routes as that one did, and has no more than that.
func (r Reader) ParseKept(text []byte) (*Job, error) {
	var k struct {
		Version int             `json:"version"`
		Job     json.RawMessage `json:"job"`
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return nil, err
	}
	if k.Version != keptVersion {
		return nil, fmt.Errorf("it has version %d, this firn knows version %d", k.Version, keptVersion)
	}
	doc := document{name: "job"}
	var j Job
	if err := yaml.UnmarshalWithOptions(k.Job, &j, yaml.Strict()); err != nil {
		return nil, located(doc.name, err)
	}
	_, decoding := j.Decoding()
	_, template := j.Template()
	if err := errors.Join(decoding, template, j.checkSteps(r.Transforms)); err != nil {
		return nil, doc.located(err)
	}
	return &j, nil
}

// ordered is the JSON of a value that YAML was read into. Maps keep their order.
func ordered(v any) (json.RawMessage, error) {
	var out bytes.Buffer
	switch v := v.(type) {
	case yaml.MapSlice:
		out.WriteByte('{')
		for i, item := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			key, err := marshal(fmt.Sprint(item.Key))
			if err != nil {
				return nil, err
			}
			value, err := ordered(item.Value)
			if err != nil {
				return nil, err
			}
			out.Write(key)
			out.WriteByte(':')
			out.Write(value)
		}
		out.WriteByte('}')
	case []any:
		out.WriteByte('[')
		for i, one := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			value, err := ordered(one)
			if err != nil {
				return nil, err
			}
			out.Write(value)
		}
		out.WriteByte(']')
	default:
		return marshal(v)
	}
	return out.Bytes(), nil
}

// marshal is JSON without an end of line, and with < > & as they are.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
