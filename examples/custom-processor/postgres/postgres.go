// Package postgres is a sink that writes tables of a PostgreSQL database. A table's position is in firn_positions and changes in the
// transaction in which the rows come: every offset is there once.
package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

// Settings are what a job file says: sink: {postgres: {url: "${DATABASE_URL}"}}.
type Settings struct {
	URL string `yaml:"url"`
}

// Tables are the tables of a database.
type Tables struct{ pool *pgxpool.Pool }

// Open connects to the database of a job.
func Open(ctx context.Context, s Settings, _ plugin.SinkEnv) (*Tables, error) {
	pool, err := pgxpool.New(ctx, s.URL)
	return &Tables{pool}, err
}

// Close implements io.Closer.
func (t *Tables) Close() error { t.pool.Close(); return nil }

// Open opens the sink of one table. Its name is schema.table.
func (t *Tables) Open(_ context.Context, table plugin.Table) (processor.Sink, error) {
	return &Sink{pool: t.pool, table: pgx.Identifier(strings.Split(table.Name, ".")), name: table.Name, spans: map[processor.Source]kfs.Span{}}, nil
}

// Sink is the sink of one table: topic, partition, "offset", and all columns of a row as JSON.
type Sink struct {
	pool  *pgxpool.Pool
	table pgx.Identifier
	name  string
	spans map[processor.Source]kfs.Span // staged since the last Seal
	rows  []json.RawMessage             // likewise: an array of rows for each batch
}

const positions = `create table if not exists firn_positions (table_name text, topic text, topic_id text, partition int, next bigint not null,
	primary key (table_name, topic, topic_id, partition))`

// Committed implements processor.Sink.
func (s *Sink) Committed(ctx context.Context) (processor.Positions, error) {
	if err := s.create(ctx, positions); err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, `select topic, topic_id, partition, next from firn_positions where table_name = $1`, s.name)
	if err != nil {
		return nil, fmt.Errorf("positions: %w", err)
	}
	at := processor.Positions{}
	var source processor.Source
	var id string
	var next int64
	_, err = pgx.ForEachRow(rows, []any{&source.Topic, &id, &source.Partition, &next}, func() (err error) {
		if source.ID, err = kfs.ParseTopicID(id); err == nil {
			at[source] = next
		}
		return err
	})
	return at, err
}

// create runs statements that make something where it is not there, one process at a time.
func (s *Sink) create(ctx context.Context, statements ...string) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, strings.Join(append([]string{`select pg_advisory_xact_lock(7217)`}, statements...), ";"))
		return err
	})
	if err != nil {
		return fmt.Errorf("create table %s: %w", s.name, err)
	}
	return nil
}

// Stage implements processor.Sink.
func (s *Sink) Stage(_ context.Context, b processor.Batch) error {
	span, ok := s.spans[b.Source]
	if !ok {
		span.Base = b.Span.Base
	}
	span.Next = b.Span.Next
	if b.Records != nil {
		rows, err := b.Records.MarshalJSON()
		if err != nil {
			return err
		}
		withoutNUL := strings.NewReplacer(`\\`, `\\`, `\u0000`, `\ufffd`) // PostgreSQL's JSON holds no U+0000
		s.rows = append(s.rows, json.RawMessage(withoutNUL.Replace(string(rows))))
	}
	s.spans[b.Source] = span
	return nil
}

// Seal implements processor.Sink. The rows travel with the group.
func (s *Sink) Seal(context.Context) (processor.Staged, error) {
	data, err := json.Marshal(s.rows)
	out := processor.Staged{Spans: s.spans, Data: data}
	s.spans, s.rows = map[processor.Source]kfs.Span{}, nil
	return out, err
}

// Commit implements processor.Sink: positions and rows in one transaction. A position that is not what it should be stops it.
func (s *Sink) Commit(ctx context.Context, from, to processor.Positions, staged []processor.Staged) error {
	if err := s.create(ctx, positions, `create schema if not exists `+s.table[:1].Sanitize(), `create table if not exists `+s.table.Sanitize()+
		` (topic text not null, partition int not null, "offset" bigint not null, "row" jsonb not null)`); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		for source, next := range to {
			done, err := tx.Exec(ctx, `insert into firn_positions values ($1, $2, $3, $4, $5)
				on conflict (table_name, topic, topic_id, partition) do update set next = excluded.next where firn_positions.next = $6`,
				s.name, source.Topic, source.ID.String(), source.Partition, next, from[source])
			if err == nil && done.RowsAffected() == 0 {
				err = processor.ErrMoved
			}
			if err != nil {
				return fmt.Errorf("position of table %s: %w", s.name, err)
			}
		}
		for _, group := range staged {
			var batches []json.RawMessage
			if err := json.Unmarshal(group.Data, &batches); err != nil {
				return err
			}
			for _, rows := range batches {
				if _, err := tx.Exec(ctx, `insert into `+s.table.Sanitize()+` select r->>'kafka_topic', (r->>'kafka_partition')::int, (r->>'kafka_offset')::bigint, r
					from jsonb_array_elements($1::jsonb) r`, rows); err != nil {
					return fmt.Errorf("rows of table %s: %w", s.name, err)
				}
			}
		}
		return nil
	})
}

// Discard implements processor.Sink. Nothing was written.
func (s *Sink) Discard(context.Context, []processor.Staged) error { return nil }
