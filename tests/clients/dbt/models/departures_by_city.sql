{{ config(materialized='view') }}
select h.city, sum(d.flights) as flights
from {{ ref('departures') }} as d
join {{ ref('hubs') }} as h on h.origin = d.origin
group by h.city
