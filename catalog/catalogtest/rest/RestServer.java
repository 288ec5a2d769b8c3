package org.apache.iceberg.rest;

import java.net.InetSocketAddress;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.iceberg.CatalogUtil;
import org.apache.iceberg.catalog.Catalog;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;

/**
 * Serves the Iceberg project's REST catalog on 127.0.0.1 until it is killed: RestServer PORT DIR. Its own main class listens on every
 * interface. Tables are known in DIR/catalog.db and lie in DIR/warehouse. Prints "ready URI".
 */
public final class RestServer {
  public static void main(String[] args) throws Exception {
    String dir = args[1];
    Map<String, String> properties =
        Map.of(
            "catalog-impl", "org.apache.iceberg.jdbc.JdbcCatalog",
            "jdbc.schema-version", "V1",
            "uri", "jdbc:sqlite:" + dir + "/catalog.db",
            "clients", "1", // of SQLite, whose connections lock each other out
            "warehouse", "file://" + dir + "/warehouse");
    Catalog catalog = CatalogUtil.buildIcebergCatalog("served", properties, new Configuration());
    var adapter = new RESTServerCatalogAdapter(new RESTCatalogServer.CatalogContext(catalog, properties));
    var context = new ServletContextHandler();
    context.addServlet(new ServletHolder(new RESTCatalogServlet(adapter)), "/*");
    Server server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])));
    server.setHandler(context);
    server.start();
    System.out.println("ready " + server.getURI());
    server.join();
  }
}
